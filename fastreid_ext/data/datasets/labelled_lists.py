"""Read lists ``<path> <label>``, a line for each image, as RegDB and LLCM have them."""

from pathlib import Path


def labelled_list(folder: Path, name: str, identities: int, images: int) -> list[tuple[str, int]]:
    """Read the images and labels of a list.

    Args:
        folder: folder of the data set, which the paths are relative to.
        name: path of the list below it.
        identities: identities that the whole list has, 0 if that is not known.
        images: lines that the whole list has, 0 if that is not known.

    Raises:
        FileNotFoundError: the list, or an image of it, is missing.
        ValueError: a line has no label, or the list is not whole.
    """
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(
            f"expected the split file {file}; unpack the data set with its folder idx there, or "
            "name the folder above it in DATASETS.ROOT"
        )
    found = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal():
            raise ValueError(
                f"{file}:{number}: expected '<path> <label>', got {line[:80]!r}; unpack it again"
            )
        found.append((str(folder / path), int(label)))
    labels = len({label for _, label in found})
    expected = (identities or labels, images or len(found))
    if not found or (labels, len(found)) != expected:
        raise ValueError(
            f"{file}: expected {expected[1]} images of {expected[0]} identities, got {len(found)} "
            f"of {labels}; the file is not whole or of another set, unpack it again"
        )
    missing = [path for path, _ in found if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{file} lists {len(missing)} of {len(found)} images that do not exist, the first is "
            f"{missing[0]}; unpack the data set again"
        )
    return found
