import numpy as np
import pytest

from fastreid_ext.deploy.features_file import ImageFeatures
from fastreid_ext.deploy.pooling import pool_features

PATHS = ["b/0002_c1s1_000151_01.jpg", "a/0001_c1s1_000001_00.jpg", "b/0002_c3s1_000200_00.jpg"]


@pytest.fixture
def images():
    features = np.array([[3, 4], [0, 2], [0, 7]], np.float32)
    return ImageFeatures(features, PATHS, {"model": "m"}, {"x.jpg": "cut short"})


def test_folders_become_means_of_unit_features(images):
    pooled = pool_features(images, "(.*)/")
    assert pooled.paths == ["b", "a"]
    np.testing.assert_allclose(pooled.features, [[0.3, 0.9], [0, 1]])
    assert pooled.features.dtype == np.float32
    assert pooled.metadata == {"model": "m", "pooled_by": "(.*)/"}
    assert pooled.unreadable == images.unreadable


def test_tracklets_of_market_names_stay_apart(images):
    pooled = pool_features(images, r"(\d+_c\d+s\d+)_")
    assert pooled.paths == ["0002_c1s1", "0001_c1s1", "0002_c3s1"]
    np.testing.assert_allclose(pooled.features, [[0.6, 0.8], [0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "expected a regular expression, got '\\('"),
        (".*/", "with a group in parentheses"),
        ("(c9)", "b/0002_c1s1_000151_01.jpg does not match '\\(c9\\)'"),
    ],
)
def test_says_what_is_wrong_with_a_pattern(images, pattern, words):
    with pytest.raises(ValueError, match=words):
        pool_features(images, pattern)
