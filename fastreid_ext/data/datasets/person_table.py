"""A CSV table of the user's own: one row an image."""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.csv_dataset import read_person_rows
from fastreid_ext.data.datasets.generated_persons import locate_set


@DATASET_REGISTRY.register()
class PersonTable(ImageDataset):
    """The images of ``DATASETS.TABLE``; see :mod:`fastreid_ext.data.csv_dataset` for its columns.

    Args:
        root: folder below which a relative ``table`` that does not exist as it stands is looked
            for.
        table: DATASETS.TABLE.
    """

    dataset_dir = ""
    dataset_name = "persontable"
    key = "DATASETS.TABLE"  # of the configuration, that holds the path

    def __init__(self, root: str = "datasets", *, table: str = "", **kwargs: Any) -> None:
        if not table:
            raise ValueError(
                f"{self.key} is empty, so PersonTable has no images; give the path of a CSV "
                "file with the columns file_name, person_id, camera_id and split"
            )
        path = locate_set(table, root)
        rows = read_person_rows(path)
        self.base = path.parent
        self.list_name = path.stem
        name = self.dataset_name
        train, query, gallery = (
            [(row.path, row.person, row.camera) for row in rows if row.split == split]
            for split in ("train", "query", "gallery")
        )
        train = [(path, f"{name}_{pid}", f"{name}_{camid}") for path, pid, camid in train]
        super().__init__(train, query, gallery, **kwargs)
