import numpy as np
import pytest
import torch
from fastreid.evaluation.query_expansion import aqe

from fastreid_ext.evaluation import query_expansion
from fastreid_ext.evaluation.query_expansion import expanded

from .ranking_problems import sample_problem


@pytest.fixture
def features():
    query, gallery, *_ = sample_problem()
    return torch.from_numpy(query), torch.from_numpy(gallery)


@pytest.mark.parametrize(("times", "neighbours", "alpha"), [(1, 5, 3.0), (2, 10, 1.0), (3, 1, 2.0)])
def test_expanded_equals_fastreids(features, times, neighbours, alpha, monkeypatch):
    monkeypatch.setattr(query_expansion, "_ROW_CHUNK", 50)
    theirs = aqe(*features, times, neighbours, alpha)
    ours = expanded(*features, times=times, neighbours=neighbours, alpha=alpha)
    for own, host in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, host, rtol=1e-5, atol=1e-6)


def test_expanded_refuses_no_neighbours(features):
    """Compiled code once wrote before an empty list and corrupted the heap."""
    with pytest.raises(ValueError, match=r"expected from 1 to \d+ nearest images .*, got 0"):
        expanded(*features, times=1, neighbours=0, alpha=3.0)


def test_expanded_known_answer():
    """At 0, 60 and 180 degrees: the two nearest of the first are itself and the second."""
    angles = np.radians([0, 60, 180])
    points = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1)).float()
    query, gallery = expanded(points[:1], points[1:], times=1, neighbours=2, alpha=2.0)
    torch.testing.assert_close(query[0], (points[0] + 0.25 * points[1]) / 2)
    torch.testing.assert_close(gallery[0], (points[1] + 0.25 * points[0]) / 2)
    # fastreid's power makes the weight of an unlike neighbour positive again.
    torch.testing.assert_close(gallery[1], (points[2] + 0.25 * points[1]) / 2)


def test_expanded_with_fewer_images_than_neighbours(features):
    query, gallery = features
    assert expanded(query[:2], gallery[:2], times=1, neighbours=10, alpha=3.0)[0].isfinite().all()
