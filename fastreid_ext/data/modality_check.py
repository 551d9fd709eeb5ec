"""Count infrared images with unequal channels, and visible ones that are grey."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import modalities_of
from fastreid_ext.data.image_check import over_images
from fastreid_ext.data.visible_infrared import INFRARED, MODALITIES

# Mean difference, in grey levels, of the largest and the smallest channel of a pixel up to which an
# image is grey. Compression moves grey pixels by about one.
_GREY = 1.0
# Images of each modality that are decoded where a preflight does not decode all.
_FEW = 400
_ADVICE = {
    "infrared": "three channels of an infrared camera are equal; are folders swapped, or are these "
    "pictures in false colours?",
    "visible": "a visible-infrared network learns nothing of colours from them; are folders "
    "swapped, or are these pictures of an infrared camera?",
}


def modality_warnings(name: str, paths: Sequence[str], *, is_full: bool) -> list[str]:
    """Describe images of a data set that look like those of the other modality, with counts.

    Images that cannot be read do not count.

    Args:
        name: registered name of the data set; sets of one modality give no warnings.
        paths: paths of its images.
        is_full: decode all images; otherwise 400 of each modality, evenly spaced.
    """
    modalities = modalities_of(name, paths)
    if modalities is None:
        return []
    warnings = []
    for modality, kind in enumerate(MODALITIES):
        own = [paths[place] for place in _chosen(np.flatnonzero(modalities == modality), is_full)]
        found = over_images(own, _is_grey)
        misfits = [
            path
            for path, is_grey in zip(own, found, strict=True)
            if is_grey is not None and is_grey != (modality == INFRARED)
        ]
        decoded = sum(is_grey is not None for is_grey in found)
        if misfits:
            what = "unequal channels" if modality == INFRARED else "three equal channels"
            warnings.append(
                f"{len(misfits)} of {decoded} {kind} images of {name} that were decoded have "
                f"{what} (e.g. {misfits[0]}); {_ADVICE[kind]}"
            )
    return warnings


def _chosen(places: NDArray[np.int64], is_full: bool) -> list[int]:
    if is_full or len(places) <= _FEW:
        return places.tolist()
    return places[np.linspace(0, len(places) - 1, _FEW).astype(int)].tolist()


def _is_grey(image: Any) -> bool:
    array = np.asarray(image)
    spread = array.max(axis=2) - array.min(axis=2)
    return float(spread.mean()) <= _GREY
