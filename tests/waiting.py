"""Wait for what another process does."""

import time
from collections.abc import Callable

LONG = 300  # seconds, that a busy machine never needs


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fail after a long time."""
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
