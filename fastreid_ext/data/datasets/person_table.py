"""Custom data set described by a CSV table with a row for each image."""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.csv_dataset import TableRow, read_table
from fastreid_ext.data.datasets.generated_persons import locate_set


@DATASET_REGISTRY.register()
class PersonTable(ImageDataset):
    """Images of ``DATASETS.TABLE``; see :mod:`fastreid_ext.data.csv_dataset` for its columns.

    Args:
        root: folder in which a relative ``table`` is looked for if the working directory has none.
        table: path of the CSV file, ``DATASETS.TABLE``.
    """

    dataset_dir = ""
    dataset_name = "persontable"
    key = "DATASETS.TABLE"  # configuration key that holds the path

    def __init__(self, root: str = "datasets", *, table: str = "", **kwargs: Any) -> None:
        if not table:
            raise ValueError(
                f"{self.key} is empty, so PersonTable has no images; give the path of a CSV "
                "file with the columns file_name, person_id, camera_id and split"
            )
        path = locate_set(table, root)
        rows = read_table(path)
        self.base = path.parent
        self.list_name = path.stem
        name = self.dataset_name
        train = [
            (row.path, f"{name}_{row.pid}", f"{name}_{row.camid}")
            for row in rows
            if row.split == "train"
        ]
        super().__init__(train, _items(rows, "query"), _items(rows, "gallery"), **kwargs)


def _items(rows: list[TableRow], split: str) -> list[tuple[str, int, int]]:
    return [(row.path, row.pid, row.camid) for row in rows if row.split == split]
