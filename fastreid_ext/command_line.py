"""How the commands in ``tools/`` end: a user's mistake as one message, a bug with its traceback."""

import contextlib
import dis
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

_PACKAGE = Path(__file__).resolve().parent
_OURS = (str(_PACKAGE), str(_PACKAGE.parent / "projects"))  # the second in a checkout
_KEY = re.compile(
    r"(MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|KD|GENERATION)\.[A-Z]|(OUTPUT_DIR|SEED)$"
)
_FOR_THE_USER = (ValueError, OSError, ImportError, FloatingPointError)


@contextlib.contextmanager
def short_errors() -> Iterator[None]:
    """Print the errors that our own checks raise without a traceback, and exit.

    Everything else, a ``ValueError`` out of torch for instance, passes: it is a bug of ours, and
    the traceback is what we need to hear of.

    Raises:
        SystemExit: 130 after Ctrl-C; else the ``exit_code`` of the error's class, 1 if it has none.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except _FOR_THE_USER as error:
        if not _is_raised_by_us(error.__traceback__):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def show_loading() -> None:
    """Print on stderr what becomes of each checkpoint that a command loads."""
    loading = logging.getLogger("fastreid_ext.engine.checkpoint")
    if not loading.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        loading.addHandler(handler)
    loading.setLevel(logging.INFO)


def split_pairs(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command before its first configuration key.

    An option of several words (``--targets A B SOLVER.BASE_LR 1e-3``) would take the KEY VALUE
    pairs after it for its own.
    """
    words = list(arguments)
    first = next((i for i, word in enumerate(words) if _KEY.match(word)), len(words))
    return words[:first], words[first:]


def _is_raised_by_us(traceback: TracebackType) -> bool:
    """Whether the error comes out of a ``raise`` in this package, not out of something it calls."""
    while traceback.tb_next:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    instruction = dis.opname[code.co_code[traceback.tb_lasti]]
    return code.co_filename.startswith(_OURS) and instruction == "RAISE_VARARGS"
