"""k-means of features: clear clusters are found, equal seeds give equal labels, bad sizes."""

import numpy as np
import pytest
import torch

from fastreid_ext.neighbours.kmeans import kmeans_labels


def features_of(seed=0):
    centres = 10 * torch.eye(4)
    noise = torch.randn(24, 4, generator=torch.Generator().manual_seed(seed))
    return centres.repeat(6, 1) + 0.1 * noise


def test_clear_clusters_are_found():
    labels = kmeans_labels(features_of(), 4)
    assert labels.dtype == np.int64
    same = labels[:, None] == labels[None, :]
    assert np.array_equal(same, np.arange(24)[:, None] % 4 == np.arange(24)[None, :] % 4)


def test_equal_seeds_give_equal_labels():
    features = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    first = kmeans_labels(features, 7, seed=3)
    assert np.array_equal(first, kmeans_labels(features, 7, seed=3))
    assert sorted(set(first.tolist())) == list(range(7))
    assert not np.array_equal(first, kmeans_labels(features, 7, seed=4))


def test_more_clusters_than_images_are_refused():
    with pytest.raises(ValueError, match=r"got 25 clusters of 24 images; lower MODEL.GLT.CLUSTERS"):
        kmeans_labels(features_of(), 25)
