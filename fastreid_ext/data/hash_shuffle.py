"""An order by chance that is the same on every machine and with every version of numpy."""

import hashlib
from collections.abc import Iterable


def hash_shuffle(names: Iterable[str], *key: str | int) -> list[str]:
    """Return ``names`` in the order of the SHA-256 of (``key``, name).

    A name's place does not depend on the order in which the names come, and two names keep their
    order when others are added or removed. The first n of a longer choice are the shorter choice.
    (The streams of ``numpy.random.Generator`` may change between versions, NEP 19.)

    Args:
        names: different strings.
        key: what the order is for; another key gives an independent order.
    """
    start = hashlib.sha256("\n".join(map(str, key)).encode() + b"\n")

    def digest(name: str) -> bytes:
        own = start.copy()
        own.update(name.encode())
        return own.digest()

    return sorted(names, key=digest)
