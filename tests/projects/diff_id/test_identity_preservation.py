"""Whose images are generated: similarities by hand, and the loops of the definition."""

import numpy as np
import pytest

from projects.DiffID.miniature.identity_preservation import pids_of, preservation


def by_loops(features, pids, real_features, real_pids, *, is_real):
    found = []
    own_similarities = []
    for i, (feature, pid) in enumerate(zip(features, pids, strict=True)):
        means = {}
        for other in sorted(set(real_pids.tolist())):
            similarities = []
            for j, (real, real_pid) in enumerate(zip(real_features, real_pids, strict=True)):
                if real_pid == other and not (is_real and i == j):
                    lengths = np.linalg.norm(feature) * np.linalg.norm(real)
                    similarities.append(feature @ real / lengths)
            means[other] = np.mean(similarities)
        own = means.pop(int(pid))
        own_similarities.append(own)
        found.append(own > max(means.values()))
    return np.mean(own_similarities), np.mean(found)


@pytest.mark.parametrize("is_real", [False, True])
def test_preservation_equals_its_loops(is_real):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(12, 5))
    real_pids = np.repeat([3, 7, 40], 4)
    images = real if is_real else rng.normal(size=(9, 5))
    pids = real_pids if is_real else np.repeat([40, 3, 7], 3)
    measured = preservation(images, pids, real, real_pids, is_real=is_real)
    own, found = by_loops(images, pids, real, real_pids, is_real=is_real)
    assert measured.own == pytest.approx(own)
    assert measured.found == pytest.approx(found)
    assert measured.chance == pytest.approx(1 / 3)


def test_an_image_of_somebody_else_is_not_found():
    real = np.eye(3)
    pids = np.array([1, 2, 3])
    right = preservation(real, pids, real, pids, is_real=False)
    wrong = preservation(real, np.roll(pids, 1), real, pids, is_real=False)
    assert right.found == 1
    assert wrong.found == 0
    assert wrong.nearest_other == 1


def test_a_real_image_is_not_compared_with_itself():
    real = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, 0.2]])
    measured = preservation(
        real, np.array([1, 1, 2, 2]), real, np.array([1, 1, 2, 2]), is_real=True
    )
    assert measured.found == pytest.approx(0.5)  # of identity 1 no image resembles the other


def test_identities_without_real_images_are_refused():
    real = np.eye(2)
    with pytest.raises(ValueError, match="expected real images of every identity"):
        preservation(real, np.array([1, 5]), real, np.array([1, 2]), is_real=False)
    with pytest.raises(ValueError, match="expected two real images"):
        preservation(real, np.array([1, 2]), real, np.array([1, 2]), is_real=True)


def test_identities_are_read_from_names():
    assert pids_of(["a/0007_c1s1_000001_00.jpg", "0123_c2s1_000002_00.jpg"]).tolist() == [7, 123]
