"""How the commands in ``tools/`` end: a user's mistake as one message, a bug with its traceback."""

import contextlib
import dis
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_PACKAGE = Path(__file__).resolve().parent
_OURS = (str(_PACKAGE), str(_PACKAGE.parent / "projects"))  # the second in a checkout
_FOR_THE_USER = (ValueError, OSError, ImportError, FloatingPointError)


@contextlib.contextmanager
def short_errors() -> Iterator[None]:
    """Print the errors that our own checks raise without a traceback, and exit.

    Our own are those raised in this package or in the script that runs. Everything else, a
    ``ValueError`` out of torch for instance, passes: it is a bug of ours, and the traceback is what
    we need to hear of.

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


def _is_raised_by_us(traceback: TracebackType) -> bool:
    """Tell whether a ``raise`` of ours is the origin of the error, not something that it calls."""
    while traceback.tb_next:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    code = frame.f_code
    is_ours = code.co_filename.startswith(_OURS) or frame.f_globals["__name__"] == "__main__"
    instruction = dis.opname[code.co_code[traceback.tb_lasti]]
    return is_ours and instruction == "RAISE_VARARGS"
