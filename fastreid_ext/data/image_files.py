"""Recognise image files by their names and find all of them below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

# Compared without regard to case.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def is_image_name(name: str) -> bool:
    """Tell whether a file name ends with a suffix of images."""
    return name.lower().endswith(SUFFIXES)


def image_names(folder: str | Path) -> list[str]:
    """List the names of the images in one folder, sorted, without hidden files."""
    return sorted(
        name for name in os.listdir(folder) if is_image_name(name) and not name.startswith(".")
    )


def images_below(folder: str | Path) -> Iterator[str]:
    """Yield the paths of the images below a folder in sorted order.

    Links are followed; a folder that several links lead to is entered once. Hidden files
    and folders are left out. Only the names in one folder are kept at a time.

    Raises:
        OSError: a folder cannot be read.
    """
    yield from _below(os.fspath(folder), set())


def _below(folder: str, entered: set[tuple[int, int]]) -> Iterator[str]:
    for name in _names_in(folder, entered):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if not name.endswith("/"):
            if is_image_name(name):
                yield path
        elif _identity(path) not in entered:
            yield from _below(path[:-1], entered)


def other_suffix(name: str) -> str:
    """Describe a file that is left out because it is not named like an image."""
    suffix = os.path.splitext(name)[1].lower()
    return f"{suffix} files" if suffix else "files without a suffix"


def _names_in(folder: str, entered: set[tuple[int, int]]) -> list[str]:
    """List the names in a folder, sorted; names of folders end in "/"."""
    try:
        entered.add(_identity(folder))
        with os.scandir(folder) as entries:
            return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
    except OSError as error:
        raise OSError(
            f"cannot read the folder {error.filename} ({error.strerror}) below {folder}; make it "
            "readable, or move it elsewhere"
        ) from error


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
