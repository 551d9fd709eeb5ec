"""Agreement of nearest images in several feature spaces: by hand and by loops."""

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.neighbours import cross_agreement
from fastreid_ext.neighbours.cross_agreement import overlap


def features_of(images=30, spaces=3, dim=5):
    rows = torch.randn(images, spaces, dim, generator=torch.Generator().manual_seed(0))
    return rows + rows[:, :1]  # so that the spaces agree to some extent


def naive(features, count):
    unit = F.normalize(features, dim=-1)
    lists = []
    for space in range(features.shape[1]):
        similar = unit[:, space] @ unit[:, space].T
        similar.fill_diagonal_(-2)
        lists.append([set(row.tolist()) for row in similar.topk(count).indices])
    return torch.tensor(
        [
            [len(one & other) / len(one | other) for one, other in zip(lists[0], own, strict=True)]
            for own in lists[1:]
        ]
    ).T


def test_overlap_by_hand():
    assert overlap(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])).tolist() == [0.5]
    assert overlap(torch.tensor([[1, 2]]), torch.tensor([[3, 4]])).tolist() == [0.0]


@pytest.mark.parametrize("count", [1, 7, 29])
def test_is_that_of_loops(count):
    found = cross_agreement(features_of(), count)
    torch.testing.assert_close(found, naive(features_of(), count))
    assert ((found >= 0) & (found <= 1)).all()
    assert (count < 29) == bool((found < 1).any())


def test_length_of_features_plays_no_part():
    scaled = features_of() * torch.rand(30, 3, 1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(cross_agreement(scaled, 5), cross_agreement(features_of(), 5))


def test_equal_images_are_neighbours_and_the_image_itself_is_not():
    """Dropping the first column would drop a twin where it is listed before the image."""
    twins = features_of().repeat_interleave(2, dim=0)
    lists = cross_agreement(twins, 1)
    assert (lists == 1).all()  # the nearest image is the twin in every space


def test_more_neighbours_than_images_are_all_others():
    assert (cross_agreement(features_of(), 100) == 1).all()


def test_features_that_are_not_finite_are_refused():
    broken = features_of()
    broken[3, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"expected finite features, got NaN or infinity in 1 of"):
        cross_agreement(broken, 5)
