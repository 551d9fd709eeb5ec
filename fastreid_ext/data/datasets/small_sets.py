"""Read the images of VIPeR, PRID 2011, GRID and i-LIDS and refuse a part of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# (path, person, camera from 0)
Image = tuple[str, int, int]


@dataclass(frozen=True)
class SmallSet:
    """The images of a small set.

    Attributes:
        folder: where its split files are looked for.
        queries: images that can be queries of test persons.
        matches: images that can be their true matches.
        others: images that are in every gallery.
    """

    folder: Path
    queries: tuple[Image, ...]
    matches: tuple[Image, ...]
    others: tuple[Image, ...] = ()


def viper(root: Path) -> SmallSet:
    """``VIPeR/cam_{a,b}/<person>_<angle>.bmp``, persons from 000, not contiguous."""
    folder = root / "VIPeR"
    a, b = (_images(folder / f"cam_{c}", ".bmp", camera) for camera, c in enumerate("ab"))
    _expect(folder, {"persons in cam_a": (len(a), 632), "persons in cam_b": (len(b), 632)})
    return SmallSet(folder, a, b)


def prid(root: Path) -> SmallSet:
    """``prid_2011/single_shot/cam_{a,b}/person_<person>.png``; 1 to 200 are in both cameras."""
    folder = root / "prid_2011"
    a, b = (
        _images(folder / "single_shot" / f"cam_{c}", ".png", camera, part=1)
        for camera, c in enumerate("ab")
    )
    _expect(folder, {"images in cam_a": (len(a), 385), "images in cam_b": (len(b), 749)})
    return SmallSet(
        folder,
        tuple(image for image in a if image[1] <= 200),
        tuple(image for image in b if image[1] <= 200),
        tuple(image for image in b if image[1] > 200),
    )


def grid(root: Path) -> SmallSet:
    """``underground_reid/{probe,gallery}/<person>_<camera>_....jpeg``; person 0 is anybody."""
    folder = root / "underground_reid"
    probe, gallery = (_images(folder / part, ".jpeg", None) for part in ("probe", "gallery"))
    others = tuple(image for image in gallery if image[1] == 0)
    matches = tuple(image for image in gallery if image[1] != 0)
    _expect(
        folder,
        {
            "images in probe": (len(probe), 250),
            "matches in gallery": (len(matches), 250),
            "others in gallery": (len(others), 775),
        },
    )
    return SmallSet(folder, probe, matches, others)


def ilids(root: Path) -> SmallSet:
    """``{QMUL-iLIDS/images,i-LIDS_Pedestrian/Persons}/<person: 4 digits><image: 3>.jpg``."""
    folders = (root / "QMUL-iLIDS" / "images", root / "i-LIDS_Pedestrian" / "Persons")
    folder = folders[1] if folders[1].is_dir() and not folders[0].is_dir() else folders[0]
    images = tuple(
        (path, int(name[:4]), int(name[4:7]) - 1)
        for path, name in _files(folder, ".jpg", lambda name: name[:7].isdecimal())
    )
    persons = len({pid for _, pid, _ in images})
    _expect(folder, {"persons": (persons, 119), "images": (len(images), 476)})
    return SmallSet(folder.parent, images, images)


def _images(folder: Path, suffix: str, camera: int | None, part: int = 0) -> tuple[Image, ...]:
    """Read <person>_<camera>_...: the person is field ``part``; the camera is given or the next."""

    def numbers(name: str) -> list[str]:
        return name.rpartition(".")[0].split("_")[part : part + (2 if camera is None else 1)]

    def is_good(name: str) -> bool:
        return all(field.isdecimal() for field in numbers(name))

    return tuple(
        (path, int(numbers(name)[0]), int(numbers(name)[1]) - 1 if camera is None else camera)
        for path, name in _files(folder, suffix, is_good)
    )


def _files(folder: Path, suffix: str, is_good: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return (path, name) of the images in a folder, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected the folder {folder}; unpack the data set there, or name the folder above it "
            "in DATASETS.ROOT"
        )
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(suffix))
    for name in names:
        if not is_good(name):
            raise ValueError(
                f"expected a person's number in the name, got {folder / name}; is it of this set?"
            )
    return [(str(folder / name), name) for name in names]


def _expect(folder: Path, counts: dict[str, tuple[int, int]]) -> None:
    """Refuse a part of a set: its results would look like those of the whole."""
    wrong = {what: pair for what, pair in counts.items() if pair[0] != pair[1]}
    if wrong:
        listed = ", ".join(f"{want} {what}, got {got}" for what, (got, want) in wrong.items())
        raise ValueError(f"{folder} is not complete: expected {listed}; unpack it again")


READERS = {"VIPeR": viper, "PRID": prid, "GRID": grid, "iLIDS": ilids}
