"""The file of clusters is read as it was written."""

import numpy as np
import pytest

from fastreid_ext.evaluation.cluster_file import read_clusters, write_clusters

PATHS = ["a,b.jpg", "c.jpg", "d.jpg"]


@pytest.mark.parametrize("identities", [None, np.array([3, 3, 0])])
def test_clusters_are_read_as_written(tmp_path, identities):
    path = tmp_path / "clusters.csv"
    write_clusters(path, PATHS, np.array([0, -1, 1]), ["c2", "c1", "c2"], identities)
    read = read_clusters(path)
    assert read.paths == PATHS
    assert read.clusters.tolist() == [0, -1, 1]
    assert read.camera_names == ["c1", "c2"]
    assert read.cameras.tolist() == [1, 0, 1]
    if identities is None:
        assert read.identities is None
    else:
        assert read.identities.tolist() == [3, 3, 0]


def test_missing_and_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no clusters at .* UNSUPERVISED.ENABLED True"):
        read_clusters(tmp_path / "clusters.csv")
    (tmp_path / "clusters.csv").write_text("path,label\na.jpg,0\n")
    with pytest.raises(
        ValueError, match=r"columns path, camera, cluster, identity .* got \['path'"
    ):
        read_clusters(tmp_path / "clusters.csv")
