"""Images like persons, the time that corruptions take on them, and how methods compare.

Used by ``tools/benchmarks/corruptions.py`` only.

Letters: H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from measuring.timing import median_seconds

Method = Callable[[NDArray[np.uint8], str], object]
Rows = dict[str, list[float]]

_MIXES = (15, 19)  # the common corruptions, and all that the reference has


def person_like(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return a figure in plain clothes before a blurred background, after JPEG of quality 90.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rng = np.random.default_rng(seed)
    image = sum(
        scale * cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), scale)
        for scale in (1.0, 4.0, 16.0)
    )
    image = 110 + 60 * image / image.std()
    for share in (0.42, 0.2):  # of the height: the person, and the coat
        axes = (width // 4, int(height * share))
        colour = rng.uniform(0, 255, 3).tolist()
        cv2.ellipse(image, (width // 2, height // 2), axes, 0, 0, 360, colour, -1)
    image = np.clip(image + rng.normal(scale=4, size=image.shape), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def milliseconds_per_image(
    methods: Mapping[str, Method],
    names: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    rounds: int,
) -> Rows:
    """Return, for every corruption, the median of each method's CPU time for one image.

    The methods take turns on the same images, after one turn that is not counted. Means over the
    15 common and all 19 corruptions are added if ``names`` holds them: the time of a mix in which
    each is equally frequent.
    """
    rows: Rows = {}
    for name in names:
        runs = {
            key: lambda run=run, name=name: [run(image, name) for image in images]
            for key, run in methods.items()
        }
        for run in methods.values():
            run(images[0], name)  # compiles, and fills tables
        times = median_seconds(runs, rounds, "cpu")
        rows[name] = [1e3 * times[key] / len(images) for key in methods]
    for count in _MIXES:
        if set(CORRUPTION_NAMES[:count]) <= rows.keys():
            common = [rows[name] for name in CORRUPTION_NAMES[:count]]
            rows[f"mix of {count}"] = np.mean(common, axis=0).tolist()
    return rows


def ratio_table(rows: Rows, keys: Sequence[str], ours: Sequence[str]) -> str:
    """Return times and how many times faster each of ``ours`` is than each other method.

    Args:
        rows: result of :func:`milliseconds_per_image`, in milliseconds.
        keys: the methods, in the order of a row.
        ours: which of them are ours.
    """
    pairs = _pairs(keys, ours)
    table = [[name, *row, *_ratios(row, keys, pairs)] for name, row in rows.items()]
    headers = ["ms per image", *keys, *(f"{other} / {own}" for other, own in pairs)]
    formats = ["", *[".3f"] * len(keys), *[".1f"] * len(pairs)]
    return tabulate(table, headers=headers, floatfmt=formats)


def summary(rows: Rows, keys: Sequence[str], ours: Sequence[str]) -> str:
    """Return the ratios of the mix of the common corruptions, or of the mean of what there is."""
    name = f"mix of {_MIXES[0]}"
    row = rows.get(name) or np.mean(list(rows.values()), axis=0).tolist()
    pairs = _pairs(keys, ours)
    ratios = zip(pairs, _ratios(row, keys, pairs), strict=True)
    found = ", ".join(f"{own} {ratio:.1f}x {other}" for (other, own), ratio in ratios)
    return f"{name if name in rows else 'mean'}: {found}"


def _pairs(keys: Sequence[str], ours: Sequence[str]) -> list[tuple[str, str]]:
    return [(other, own) for own in ours for other in keys if other not in ours]


def _ratios(
    row: Sequence[float], keys: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[float]:
    return [row[keys.index(other)] / row[keys.index(own)] for other, own in pairs]
