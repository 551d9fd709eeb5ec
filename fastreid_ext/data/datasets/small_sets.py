"""Read the images of VIPeR, PRID 2011, GRID and i-LIDS; refuse incomplete sets."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# (path, pid, camid); cameras count from 0
Image = tuple[str, int, int]


@dataclass(frozen=True)
class SmallSet:
    """Images of a small set by their role in the test.

    Attributes:
        folder: folder in which split files are looked for.
        queries: images that may be queries of test identities.
        matches: images that may be true matches of the queries.
        others: images that belong to every gallery.
    """

    folder: Path
    queries: tuple[Image, ...]
    matches: tuple[Image, ...]
    others: tuple[Image, ...] = ()


def viper(root: Path) -> SmallSet:
    """Read ``VIPeR/cam_{a,b}/<pid>_<angle>.bmp``; identities begin at 0 with gaps."""
    folder = root / "VIPeR"
    a = _images(folder / "cam_a", ".bmp", camera=0)
    b = _images(folder / "cam_b", ".bmp", camera=1)
    _expect(folder, {"identities in cam_a": (len(a), 632), "identities in cam_b": (len(b), 632)})
    return SmallSet(folder, a, b)


def prid(root: Path) -> SmallSet:
    """Read ``prid_2011/single_shot/cam_{a,b}/person_<pid>.png``; 1 to 200 are in both cameras."""
    folder = root / "prid_2011"
    a = _images(folder / "single_shot" / "cam_a", ".png", camera=0, part=1)
    b = _images(folder / "single_shot" / "cam_b", ".png", camera=1, part=1)
    _expect(folder, {"images in cam_a": (len(a), 385), "images in cam_b": (len(b), 749)})
    return SmallSet(
        folder,
        tuple(image for image in a if image[1] <= 200),
        tuple(image for image in b if image[1] <= 200),
        tuple(image for image in b if image[1] > 200),
    )


def grid(root: Path) -> SmallSet:
    """Read ``underground_reid/{probe,gallery}/<pid>_<camera>_....jpeg``; pid 0 is unknown."""
    folder = root / "underground_reid"
    probe = _images(folder / "probe", ".jpeg", camera=None)
    gallery = _images(folder / "gallery", ".jpeg", camera=None)
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
    """Read ``{QMUL-iLIDS/images,i-LIDS_Pedestrian/Persons}/<pid: 4 digits><image: 3>.jpg``."""
    folders = (root / "QMUL-iLIDS" / "images", root / "i-LIDS_Pedestrian" / "Persons")
    folder = folders[1] if folders[1].is_dir() and not folders[0].is_dir() else folders[0]
    images = tuple(
        (path, int(name[:4]), int(name[4:7]) - 1)
        for path, name in _files(folder, ".jpg", lambda name: name[:7].isdecimal())
    )
    identities = len({pid for _, pid, _ in images})
    _expect(folder, {"identities": (identities, 119), "images": (len(images), 476)})
    return SmallSet(folder.parent, images, images)


def _images(folder: Path, suffix: str, camera: int | None, part: int = 0) -> tuple[Image, ...]:
    """Read (path, pid, camid): the pid is field ``part`` of the name, the camera the next one."""

    def numbers(name: str) -> list[str]:
        return name.rpartition(".")[0].split("_")[part : part + (2 if camera is None else 1)]

    def is_good(name: str) -> bool:
        return all(field.isdecimal() for field in numbers(name))

    return tuple(
        (path, int(numbers(name)[0]), int(numbers(name)[1]) - 1 if camera is None else camera)
        for path, name in _files(folder, suffix, is_good)
    )


def _files(folder: Path, suffix: str, is_good: Callable[[str], bool]) -> list[tuple[str, str]]:
    """List (path, name) of the images in a folder, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected the folder {folder}; unpack the data set there, or name the folder above it "
            "in DATASETS.ROOT"
        )
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(suffix))
    for name in names:
        if not is_good(name):
            raise ValueError(
                f"expected the number of an identity in the name, got {folder / name}; is it of "
                "this set?"
            )
    return [(str(folder / name), name) for name in names]


def _expect(folder: Path, counts: dict[str, tuple[int, int]]) -> None:
    """Refuse an incomplete set, whose results would pass for those of the complete set."""
    wrong = {what: pair for what, pair in counts.items() if pair[0] != pair[1]}
    if wrong:
        listed = ", ".join(f"{want} {what}, got {got}" for what, (got, want) in wrong.items())
        raise ValueError(f"{folder} is not complete: expected {listed}; unpack it again")


READERS = {"VIPeR": viper, "PRID": prid, "GRID": grid, "iLIDS": ilids}
