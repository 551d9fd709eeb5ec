"""Read text files that people and other programs wrote, whatever their encoding."""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def read_text(file: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark, or of a Latin-1 file.

    Raises:
        ValueError: the file is no text in either.
    """
    data = file.read_bytes()
    if b"\0" in data:
        raise ValueError(
            f"{file}: expected a text file in UTF-8, got bytes of 0; is it UTF-16, or no text? "
            "Save it as UTF-8"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        logger.warning("%s is not UTF-8 (%s) and is read as Latin-1", file, error)
        return data.decode("latin-1")
