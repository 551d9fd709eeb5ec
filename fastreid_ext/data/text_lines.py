"""Read text files of users and other programs in UTF-8 or Latin-1."""

import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


def read_text(file: Path) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark, or in Latin-1.

    Raises:
        ValueError: the file is not text in either encoding.
    """
    return file.read_bytes().decode(_encoding(file))


def text_rows(file: Path) -> Iterator[str]:
    """Yield the rows of ``read_text(file).splitlines()``, one at a time.

    Raises:
        ValueError: the file is not text in either encoding.
    """
    with open(file, encoding=_encoding(file)) as opened:
        for row in opened:
            yield from row.splitlines()  # splits at more line ends than iterating over a file


def _encoding(file: Path) -> str:
    problem = None
    with open(file, "rb") as opened:
        for row in opened:
            if b"\0" in row:
                raise ValueError(
                    f"{file}: expected a text file in UTF-8, got bytes of value 0; is it UTF-16 "
                    "or a binary file? Save it as UTF-8"
                )
            try:
                row.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = problem or error
    if problem is None:
        return "utf-8-sig"
    logger.warning("%s is not UTF-8 (%s) and is read as Latin-1", file, problem)
    return "latin-1"
