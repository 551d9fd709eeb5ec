"""Read text files that people and other programs wrote, whatever their encoding."""

import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


def read_text(file: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark, or of a Latin-1 file.

    Raises:
        ValueError: the file is no text in either.
    """
    return file.read_bytes().decode(_encoding(file))


def text_rows(file: Path) -> Iterator[str]:
    """Yield the rows of such a file as ``read_text(file).splitlines()``, one at a time.

    Raises:
        ValueError: the file is no text in either.
    """
    with open(file, encoding=_encoding(file)) as opened:
        for row in opened:
            yield from row.splitlines()  # which knows more ends of lines than files do


def _encoding(file: Path) -> str:
    problem = None
    with open(file, "rb") as opened:
        for row in opened:
            if b"\0" in row:
                raise ValueError(
                    f"{file}: expected a text file in UTF-8, got bytes of 0; is it UTF-16, or no "
                    "text? Save it as UTF-8"
                )
            try:
                row.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = problem or error
    if problem is None:
        return "utf-8-sig"
    logger.warning("%s is not UTF-8 (%s) and is read as Latin-1", file, problem)
    return "latin-1"
