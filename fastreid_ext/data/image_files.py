"""Which files are images, and finding all of them below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

# Compared without regard to case.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def is_image_name(name: str) -> bool:
    """Whether a file name ends as those of images do."""
    return name.lower().endswith(SUFFIXES)


def image_names(folder: str | Path) -> list[str]:
    """Return the sorted names of the images in one folder; hidden files are none."""
    return sorted(
        name for name in os.listdir(folder) if is_image_name(name) and not name.startswith(".")
    )


def images_below(folder: str | Path) -> Iterator[str]:
    """Yield the paths of the images below a folder in sorted order.

    Links are followed; a folder that can be reached in several ways is entered once. Hidden files
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
    """Return the reason for leaving out a file that is not named like an image."""
    suffix = os.path.splitext(name)[1].lower()
    return f"{suffix} files" if suffix else "files without a suffix"


def _names_in(folder: str, entered: set[tuple[int, int]]) -> list[str]:
    """Return the sorted names in a folder, those of folders with a / at their end."""
    try:
        entered.add(_identity(folder))
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    except OSError as error:
        raise OSError(
            f"cannot read the folder {error.filename} ({error.strerror}) below {folder}; make it "
            "readable, or move it elsewhere"
        ) from error


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
