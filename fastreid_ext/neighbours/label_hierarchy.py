"""Labels in two levels, sub-clusters within clusters, that follow the features step by step: HCD.

Images of a batch leave their clusters, join the image that their neighbours lead them to, and may
split and merge the groups they are in. There is no clustering again after the first one.

Rows 0 .. S-1 stand for the identities of a source and keep their labels; the others are images. The
label of a sub-cluster is the row of one of its images, its anchor. The paper and its code [1] leave
details open; projects/DomainAdaptation/README.md says what was chosen.

Letters: R rows, S identities of the source, N = R - S images, D feature dimension, B batch.

[0] Zheng et al., "Online Pseudo Label Generation by Hierarchical Cluster Dynamics for Adaptive
    Person Re-identification" (HCD), ICCV 2021
[1] its code, https://github.com/tangshixiang/HCD
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.neighbours.ordered_keys import ordered_keys
from fastreid_ext.neighbours.propagation import affinities, parts_of, scores_of_first

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
_LEAST_TO_SPLIT = 5  # images of a group that may be split
_LEAST_PARTS = 3  # sub-clusters of a cluster that may be split


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """Settings of the changes; the values are those of the demonstration in [1].

    Attributes:
        neighbours: nearest rows that an image looks at, itself included.
        linked: number of nearest ones among these that may be linked with a row.
        groups_linked: number of nearest groups that may be linked with a group.
        floor: similarity above which rows are linked.
        threshold: score above which an image joins another, or groups are merged.
        anchors: rule by which groups are split, of
            :data:`~fastreid_ext.neighbours.propagation.ANCHORS`.
        parts: maximum number of parts of a group that is split.
    """

    neighbours: int = 64
    linked: int = 20
    groups_linked: int = 30
    floor: float = 0.45
    threshold: float = 0.25
    anchors: str = "farthest"
    parts: int = 8


class LabelHierarchy:
    """Sub-cluster and cluster of every row; each sub-cluster lies within one cluster.

    Attributes:
        sub: (R,) sub-cluster of each row.
        top: (R,) cluster of each row, numbers without an order.
        fresh: smallest number that no cluster has had.

    Args:
        sub: (R,) sub-cluster of each row.
        top: (R,) cluster of each row.
        sources: number S of first rows whose labels stay.
        fresh: smallest number that no cluster has had.
        dynamics: settings of the changes.

    Example:
        >>> hierarchy = LabelHierarchy.of_clusters(np.array([0, 0, 1]), sources=2)
        >>> hierarchy.sub.tolist(), hierarchy.fresh
        ([0, 1, 2, 2, 4], 5)
        >>> close = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.6, 0.8], [0.8, 0.6]])
        >>> hierarchy.update(close, np.array([4]))
        >>> hierarchy.top.tolist()
        [0, 1, 2, 2, 2]
    """

    def __init__(
        self,
        sub: Labels,
        top: Labels,
        *,
        sources: int,
        fresh: int,
        dynamics: Dynamics | None = None,
    ) -> None:
        self.sub = sub.copy()
        self.top = top.copy()
        self.fresh = fresh
        self._sources = sources
        self._dynamics = dynamics or Dynamics()

    @classmethod
    def of_clusters(
        cls, labels: Labels, *, sources: int, dynamics: Dynamics | None = None
    ) -> "LabelHierarchy":
        """Begin with one sub-cluster in each cluster.

        Args:
            labels: (N,) clusters 0 .. C-1 of the images, each used.
            sources: number S of identities of the source.
            dynamics: settings of the changes.
        """
        _, first = np.unique(labels, return_index=True)
        start = np.concatenate([np.arange(sources), sources + first[labels]])
        fresh = len(start)
        return cls(start, start, sources=sources, fresh=fresh, dynamics=dynamics)

    def clusters(self) -> Labels:
        """Number the clusters of the images from 0, in the order of their first images."""
        _, first, place = np.unique(
            self.top[self._sources :], return_index=True, return_inverse=True
        )
        return np.argsort(np.argsort(first))[place]

    def update(self, memory: Tensor, rows: Labels) -> None:
        """Change the labels of a batch's images, and of the groups that they are in.

        Args:
            memory: (R, D) features of length 1 on any device.
            rows: (B,) rows of the images, in any order, S or larger.
        """
        rows = np.unique(rows)
        neighbours = self._neighbours(memory, rows)
        for row in rows:
            self._detach(row)
        scores = [self._scores(memory, near) for near in neighbours]
        nearest = {
            row: int(near[own.argmax()])
            for row, near, own in zip(rows, neighbours, scores, strict=True)
        }
        self._join(self._joins(neighbours, scores))
        self._split_subs(memory, rows)
        self._merge(memory, self.sub, neighbours, nearest)
        self._split_clusters(memory, rows)
        self._merge(memory, self.top, neighbours, nearest)

    def _neighbours(self, memory: Tensor, rows: Labels) -> Labels:
        """Find the nearest rows (B, K) of each row, the row itself first."""
        batch = torch.from_numpy(rows).to(memory.device)
        distances = 1 - memory[batch] @ memory.T
        distances[torch.arange(len(rows), device=memory.device), batch] = -1
        count = min(self._dynamics.neighbours, len(memory))
        keys = ordered_keys(distances).topk(count, dim=1, largest=False, sorted=True).values
        return (keys & 0xFFFFFFFF).cpu().numpy()

    def _detach(self, row: int) -> None:
        """Make a row a cluster of its own; another image anchors what it leaves."""
        rest = np.flatnonzero(self.sub == row)
        rest = rest[rest != row]
        if len(rest):
            self.sub[rest] = rest[0]
        self.sub[row] = row
        self.top[row] = self._new_cluster()

    def _new_cluster(self) -> int:
        self.fresh += 1
        return self.fresh - 1

    def _scores(self, memory: Tensor, near: Labels) -> Floats:
        """Compute how strongly each neighbour's label arrives at the image, the first of them."""
        features = _rows(memory, near)
        keys = self._dynamics
        links = affinities(features @ features.T, nearest=keys.linked, floor=keys.floor)
        return scores_of_first(links)

    def _joins(self, neighbours: Labels, scores: list[Floats]) -> dict[int, int]:
        """Find the images that join another one: its nearest by score, if near enough."""
        joins = {}
        for near, own in zip(neighbours, scores, strict=True):
            best = int(own.argmax())
            is_near = best < self._dynamics.linked and own[best] > self._dynamics.threshold
            if is_near and near[best] >= self._sources:
                joins[int(near[0])] = int(near[best])
        return joins

    def _join(self, joins: Mapping[int, int]) -> None:
        """Give images the labels of those that they join, which may join others themselves."""
        ends = {row: _end_of_chain(row, joins) for row in joins}
        for row, end in ends.items():
            self.sub[row] = self.sub[end]
            self.top[row] = self.top[end]

    def _split_subs(self, memory: Tensor, rows: Labels) -> None:
        keys = self._dynamics
        for label, first in zip(*np.unique(self.sub[rows], return_index=True), strict=True):
            members = _with_first(np.flatnonzero(self.sub == label), rows[first])
            if len(members) < _LEAST_TO_SPLIT:
                continue
            parts = parts_of(_rows(memory, members), anchors=keys.anchors, parts=keys.parts)
            if parts is None:
                continue
            for part in np.unique(parts):
                own = members[parts == part]
                self.sub[own] = own.min()

    def _split_clusters(self, memory: Tensor, rows: Labels) -> None:
        keys = self._dynamics
        for label, first in zip(*np.unique(self.top[rows], return_index=True), strict=True):
            members = np.flatnonzero(self.top == label)
            subs = _with_first(np.unique(self.sub[members]), self.sub[rows[first]])
            if len(members) < _LEAST_TO_SPLIT or len(subs) < _LEAST_PARTS:
                continue
            means = self._means(memory, self.sub, subs)
            parts = parts_of(means, anchors=keys.anchors, parts=keys.parts)
            if parts is None:
                continue
            for part in np.unique(parts):
                self.top[np.isin(self.sub, subs[parts == part])] = self._new_cluster()

    def _merge(
        self, memory: Tensor, level: Labels, neighbours: Labels, nearest: Mapping[int, int]
    ) -> None:
        """Merge groups of a level that an image connects, in place.

        Sub-clusters must be of one cluster. Groups are merged only together with that of the
        image's nearest one.
        """
        wanted = np.unique(level[neighbours])
        means = self._means(memory, level, wanted)
        joined = _Unions()
        for near in neighbours:
            labels = level[near]
            places = np.sort(np.unique(labels, return_index=True)[1])
            groups = means[np.searchsorted(wanted, labels[places])]
            scores = self._scores_of_groups(_rows(memory, near[places]), groups)
            is_merged = (scores > self._dynamics.threshold) & (labels[places] >= self._sources)
            if level is self.sub:
                is_merged &= self.top[near[places]] == self.top[near[0]]
            merged = {int(labels[0]), *labels[places][is_merged].tolist()}
            if int(level[nearest[near[0]]]) in merged:
                joined.add(merged)
        for label, smallest in joined.smallest().items():
            level[level == label] = smallest

    def _scores_of_groups(self, points: Floats, groups: Floats) -> Floats:
        """Compute scores of groups for an image, which stands for its own group, the first."""
        nodes = groups.copy()
        nodes[0] = points[0]
        keys = self._dynamics
        links = affinities(
            nodes @ nodes.T, nearest=keys.groups_linked, floor=keys.floor, points=points @ points.T
        )
        return scores_of_first(links)

    def _means(self, memory: Tensor, level: Labels, wanted: Labels) -> Floats:
        """Average the features of groups, without normalising.

        Args:
            memory: (R, D) features of all rows.
            level: (R,) labels of one level.
            wanted: (G,) labels of the groups.

        Returns:
            (G, D) means in the order of the wanted labels.
        """
        order = np.argsort(wanted)
        members = np.flatnonzero(np.isin(level, wanted))
        place = order[np.searchsorted(wanted[order], level[members])]
        sorting = np.argsort(place, kind="stable")
        sizes = np.bincount(place, minlength=len(wanted))
        starts = np.cumsum(sizes) - sizes
        sums = np.add.reduceat(_rows(memory, members[sorting]), starts, axis=0)
        return sums / sizes[:, None]


class _Unions:
    """Sets of labels that are joined where they overlap."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def add(self, labels: set[int]) -> None:
        """Join all sets that have one of the labels."""
        roots = {self._root(label) for label in labels}
        smallest = min(roots)
        for root in roots:
            self._parent[root] = smallest

    def _root(self, label: int) -> int:
        parent = self._parent.setdefault(label, label)
        return label if parent == label else self._root(parent)

    def smallest(self) -> dict[int, int]:
        """Map each label that is not the smallest of its set to the smallest."""
        found = {label: self._root(label) for label in self._parent}
        return {label: root for label, root in found.items() if label != root}


def _rows(memory: Tensor, rows: Labels) -> Floats:
    return memory[torch.from_numpy(rows).to(memory.device)].double().cpu().numpy()


def _with_first(values: Labels, first: int) -> Labels:
    """Move one of the values to the front."""
    return np.concatenate([[first], values[values != first]])


def _end_of_chain(row: int, joins: Mapping[int, int]) -> int:
    """Follow the joins from a row to one that joins none; in a circle, to its smallest row."""
    path = [row]
    while path[-1] in joins:
        following = joins[path[-1]]
        if following in path:
            return min(path[path.index(following) :])
        path.append(following)
    return path[-1]
