"""Person and camera ids of a ranking, checked and grouped.

Letters: Q queries, G gallery images.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Ids = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class RankLabels:
    """Ids of queries and gallery; any int64, negative or with gaps."""

    query_pids: Ids
    gallery_pids: Ids
    query_camids: Ids
    gallery_camids: Ids

    @classmethod
    def checked(cls, *labels: Tensor | ArrayLike) -> "RankLabels":
        """Return labels of whole numbers.

        Args:
            labels: query pids (Q,), gallery pids (G,), query camids (Q,), gallery camids (G,).

        Raises:
            ValueError: an array that is not 1-D, or ids that are no whole numbers.
        """
        arrays = [np.asarray(v.cpu() if isinstance(v, Tensor) else v) for v in labels]
        if any(values.ndim != 1 for values in arrays):
            raise ValueError(f"expected 1-D labels, got shapes {[v.shape for v in arrays]}")
        return cls(*map(_whole, arrays))

    def expect(self, num_query: int, num_gallery: int) -> None:
        """Raise ValueError unless there are labels for that many images, at least one each."""
        got = [len(self.query_pids), len(self.query_camids)]
        got_gallery = [len(self.gallery_pids), len(self.gallery_camids)]
        if got != [num_query] * 2 or got_gallery != [num_gallery] * 2:
            raise ValueError(
                f"expected {num_query} query and {num_gallery} gallery labels, got "
                f"{got} and {got_gallery} (pids, camids)"
            )
        expect_images(num_query, num_gallery)

    def is_ranked(self, junk_pid: int | None) -> NDArray[np.bool_] | None:
        """Return a mask (G,) of the gallery images that are not junk; None if all are ranked.

        Raises:
            ValueError: a query of the junk id, or a gallery of nothing else.
        """
        if junk_pid is None:
            return None
        if (self.query_pids == junk_pid).any():
            raise ValueError(
                f"expected no query of person {junk_pid}, the id of junk images (junk_pid), got "
                f"{(self.query_pids == junk_pid).sum()}; leave them out, or give another junk_pid"
            )
        ranked = self.gallery_pids != junk_pid
        if not ranked.any():
            raise ValueError(f"every gallery image is of person {junk_pid}, the id of junk images")
        return None if ranked.all() else ranked

    def of_gallery(self, chosen: NDArray[np.bool_]) -> "RankLabels":
        """Return the labels of the same queries and of the chosen (G,) gallery images."""
        return dataclasses.replace(
            self,
            gallery_pids=self.gallery_pids[chosen],
            gallery_camids=self.gallery_camids[chosen],
        )


@dataclasses.dataclass(frozen=True)
class SamePerson:
    """Where in the gallery each query's person is.

    The person of query q is at ``by_pid[first[q] : last[q]]``, in gallery order.

    Attributes:
        by_pid: (G,) gallery positions sorted by person id, ascending within a person.
        first: (Q,) where the query's person begins in ``by_pid``.
        last: (Q,) where it ends.
    """

    by_pid: Ids
    first: Ids
    last: Ids

    @classmethod
    def of(cls, labels: RankLabels) -> "SamePerson":
        """Group the gallery by person."""
        by_pid = np.argsort(labels.gallery_pids, kind="stable")
        sorted_pids = labels.gallery_pids[by_pid]
        first, last = (
            np.searchsorted(sorted_pids, labels.query_pids, side=side) for side in ("left", "right")
        )
        return cls(by_pid, first, last)


def expect_images(num_query: int, num_gallery: int) -> None:
    """Raise ValueError unless there is something to rank."""
    if num_gallery == 0 or num_query == 0:
        raise ValueError(
            f"expected at least one query and one gallery image, got {num_query} and "
            f"{num_gallery}; is the right folder given as the data set?"
        )


def _whole(values: NDArray) -> Ids:
    if values.size == 0:
        return values.astype(np.int64)
    with np.errstate(invalid="ignore"):  # NaN is no whole number either
        whole = values.astype(np.int64) if values.dtype.kind in "biuf" else None
    if whole is None or not np.array_equal(whole, values):
        raise ValueError(
            f"expected whole numbers as person and camera ids, got {values.dtype} such as "
            f"{values[0] if whole is None else values[whole != values][0]}"
        )
    return whole
