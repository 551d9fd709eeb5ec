"""Identity and camera labels of a ranking, checked and grouped.

Letters: Q queries, G gallery images.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Ids = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class RankLabels:
    """Labels of queries and gallery: any int64, also negative or with gaps."""

    query_pids: Ids
    gallery_pids: Ids
    query_camids: Ids
    gallery_camids: Ids

    @classmethod
    def checked(cls, *labels: Tensor | ArrayLike) -> "RankLabels":
        """Check labels and convert them to int64.

        Args:
            labels: query pids (Q,), gallery pids (G,), query camids (Q,), gallery camids (G,).

        Raises:
            ValueError: an array is not 1-D, or labels are not whole numbers.
        """
        arrays = [np.asarray(v.cpu() if isinstance(v, Tensor) else v) for v in labels]
        if any(values.ndim != 1 for values in arrays):
            raise ValueError(f"expected 1-D labels, got shapes {[v.shape for v in arrays]}")
        return cls(*map(_whole, arrays))

    def expect(self, num_query: int, num_gallery: int) -> None:
        """Check that there are labels for that many images, at least one each."""
        got = [len(self.query_pids), len(self.query_camids)]
        got_gallery = [len(self.gallery_pids), len(self.gallery_camids)]
        if got != [num_query] * 2 or got_gallery != [num_gallery] * 2:
            raise ValueError(
                f"expected {num_query} query and {num_gallery} gallery labels, got "
                f"{got} and {got_gallery} (pids, camids)"
            )
        expect_images(num_query, num_gallery)

    def is_ranked(self, junk_pid: int | None) -> NDArray[np.bool_] | None:
        """Mask (G,) the gallery images that are not junk; None if all are ranked.

        Raises:
            ValueError: a query has the identity of junk, or the whole gallery is junk.
        """
        if junk_pid is None:
            return None
        if (self.query_pids == junk_pid).any():
            raise ValueError(
                f"expected no query of identity {junk_pid}, which marks junk (junk_pid), got "
                f"{(self.query_pids == junk_pid).sum()}; leave them out, or give another junk_pid"
            )
        ranked = self.gallery_pids != junk_pid
        if not ranked.any():
            raise ValueError(
                f"every gallery image is of identity {junk_pid}, which marks junk; give "
                "another junk_pid"
            )
        return None if ranked.all() else ranked

    def of_gallery(self, chosen: NDArray[np.bool_]) -> "RankLabels":
        """Select the labels of the chosen (G,) gallery images and of all queries."""
        return dataclasses.replace(
            self,
            gallery_pids=self.gallery_pids[chosen],
            gallery_camids=self.gallery_camids[chosen],
        )


@dataclasses.dataclass(frozen=True)
class SameIdentity:
    """Positions in the gallery of each query's identity.

    The images of query q's identity are ``by_pid[first[q] : last[q]]``, in gallery order.

    Attributes:
        by_pid: (G,) gallery positions sorted by identity, ascending within one.
        first: (Q,) start of the query's identity in ``by_pid``.
        last: (Q,) end of the query's identity in ``by_pid``, exclusive.
    """

    by_pid: Ids
    first: Ids
    last: Ids

    @classmethod
    def of(cls, labels: RankLabels) -> "SameIdentity":
        """Group the gallery by identity."""
        by_pid = np.argsort(labels.gallery_pids, kind="stable")
        sorted_pids = labels.gallery_pids[by_pid]
        first = np.searchsorted(sorted_pids, labels.query_pids, side="left")
        last = np.searchsorted(sorted_pids, labels.query_pids, side="right")
        return cls(by_pid, first, last)


def expect_images(num_query: int, num_gallery: int) -> None:
    """Check that there are queries and gallery images; else raise ValueError."""
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
            f"expected whole numbers as identity and camera labels, got {values.dtype} such as "
            f"{values[0] if whole is None else values[whole != values][0]}"
        )
    return whole
