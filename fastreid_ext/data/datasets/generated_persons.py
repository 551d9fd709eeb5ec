"""Data set of generated images, for training."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.generated_items import generated_items
from fastreid_ext.manifest import read_set


@DATASET_REGISTRY.register()
class GeneratedPersons(ImageDataset):
    """Images with status "ok" of one or more generated sets, for training only.

    The options are the keys of ``cfg.DATASETS.GENERATED``.

    Args:
        root: folder in which relative ``roots`` are looked for if the working directory has none.
        roots: folders of generated sets, each with a ``dataset.json``.
        person_ids: rule for identities, "new" or "kept"; see
            :mod:`fastreid_ext.data.generated_items`.
        camera_rule: rule for cameras, "row", "source", "single" or "per_image"; see
            :mod:`fastreid_ext.data.generated_items`.
        max_per_identity: largest number of images kept of an identity; 0 = no limit.
        max_images: largest number of images in all, spread over the identities; 0 = no limit.
    """

    dataset_dir = ""
    dataset_name = "generated"

    def __init__(
        self,
        root: str = "datasets",
        *,
        roots: Sequence[str] = (),
        person_ids: str = "new",
        camera_rule: str = "single",
        max_per_identity: int = 0,
        max_images: int = 0,
        **kwargs: Any,
    ) -> None:
        if not roots:
            raise ValueError(
                "DATASETS.GENERATED.ROOTS is empty, so GeneratedPersons has no images; give the "
                "folders of the generated sets (each holds a dataset.json)"
            )
        rows = [read_set(locate_set(folder, root))[1] for folder in roots]
        counts = Counter(row.image.status for own in rows for row in own)
        # Number of images by status, for the message if no image is "ok".
        self.statuses = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
        train = generated_items(
            rows,
            registered_names(besides=type(self)),
            person_ids=person_ids,
            camera_rule=camera_rule,
            max_per_identity=max_per_identity,
            max_images=max_images,
        )
        # Nothing to combine: there are no test images.
        super().__init__(train, [], [], **{**kwargs, "combineall": False})


def locate_set(folder: str, root: str) -> Path:
    """Return the path of ``folder``; below ``root`` if it exists only there."""
    path = Path(folder).expanduser()
    below = Path(root) / folder
    return below if not path.exists() and below.exists() else path


def registered_names(besides: type | None = None) -> dict[str, str]:
    """Look up ``dataset_name``, which prefixes training pids, of all registered sets but one."""
    registered = DATASET_REGISTRY._obj_map.items()  # fastreid's Registry offers no other way
    return {
        name: cls.dataset_name
        for name, cls in registered
        if getattr(cls, "dataset_name", None) and cls is not besides
    }
