"""Neighbours of features: nearest images, k-reciprocal sets, Jaccard distances, clusters."""

from fastreid_ext.neighbours.cluster_report import ClusterReport, cluster_report
from fastreid_ext.neighbours.cross_agreement import cross_agreement
from fastreid_ext.neighbours.dbscan import dbscan_labels
from fastreid_ext.neighbours.jaccard import jaccard_distances
from fastreid_ext.neighbours.reliability import (
    disagreement,
    independence_limit,
    noise_apart,
    reliable_labels,
)

__all__ = [
    "ClusterReport",
    "cluster_report",
    "cross_agreement",
    "dbscan_labels",
    "disagreement",
    "independence_limit",
    "jaccard_distances",
    "noise_apart",
    "reliable_labels",
]
