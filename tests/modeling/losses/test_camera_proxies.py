"""Camera proxies and their loss: by hand, by loops, and where sets are empty."""

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import CameraProxies, camera_proxy_losses

LABELS = torch.tensor([0, 0, 1, -1, 1, 2, 0, 2, 1, 2])
CAMERAS = torch.tensor([5, 5, 5, 0, 9, 0, 9, 9, 9, 0])


def features_of(seed, count, dim=6):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def proxies_of(**settings) -> CameraProxies:
    proxies = CameraProxies(4, 6, **settings)
    proxies.begin(F.normalize(features_of(0, 10), dim=1), LABELS, CAMERAS)
    return proxies


def given(rows, clusters, cameras, **settings) -> CameraProxies:
    """Proxies of given rows, each the feature of one image."""
    proxies = CameraProxies(1, len(rows[0]), **settings)
    proxies.begin(torch.tensor(rows), torch.tensor(clusters), torch.tensor(cameras))
    return proxies


def naive(features, targets, cameras, proxies, *, temperature, negatives, with_own_camera):
    """Compute the loss of each feature with loops, so that a reader can check it."""
    losses = []
    for feature, target, camera in zip(features, targets, cameras, strict=True):
        positives = []
        others = []
        for row, cluster, of in zip(proxies.rows, proxies.clusters, proxies.cameras, strict=True):
            similarity = feature / feature.norm() @ row / temperature
            if cluster != target:
                others.append(similarity)
            elif with_own_camera or of != camera:
                positives.append(similarity)
        hardest = sorted(others, reverse=True)[:negatives]
        total = torch.logsumexp(torch.stack([*positives, *hardest]), 0) if positives else 0
        own = [total - similarity for similarity in positives]
        losses.append(sum(own) / len(own) if own else features.new_zeros(()))
    return torch.stack(losses)


def test_proxies_are_normalised_means_of_each_camera_of_each_cluster():
    proxies = proxies_of()
    pairs = list(zip(proxies.clusters.tolist(), proxies.cameras.tolist(), strict=True))
    assert pairs == [(0, 5), (0, 9), (1, 5), (1, 9), (2, 0), (2, 9)]
    unit = F.normalize(features_of(0, 10), dim=1)
    for row, (cluster, camera) in zip(proxies.rows, pairs, strict=True):
        mean = unit[(LABELS == cluster) & (CAMERAS == camera)].mean(dim=0)
        torch.testing.assert_close(row, mean / mean.norm())
    assert not proxies.state_dict()  # they follow from the weights


@pytest.mark.parametrize("with_own_camera", [True, False])
@pytest.mark.parametrize("negatives", [1, 3, 50])
def test_loss_and_gradient_are_those_of_loops(with_own_camera, negatives):
    settings = {
        "temperature": 0.07,
        "negatives": negatives,
        "with_own_camera": with_own_camera,
    }
    targets = torch.tensor([0, 1, 2, 2, 0])
    cameras = torch.tensor([5, 9, 0, 3, 9])
    mine = features_of(1, 5).requires_grad_()
    slow = features_of(1, 5).requires_grad_()
    losses = camera_proxy_losses(mine, targets, cameras, proxies_of(), **settings)
    expected = naive(slow, targets, cameras, proxies_of(), **settings)
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad, slow.grad)


def test_by_hand():
    """Similarities 1 and 0 of positives and -1 of a negative, temperature 1: 0.907606."""
    proxies = given([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [0, 0, 1], [0, 1, 0])
    feature = torch.tensor([[2.0, 0.0]])
    target = torch.tensor([0])
    loss = camera_proxy_losses(feature, target, torch.tensor([0]), proxies, temperature=1.0)
    torch.testing.assert_close(loss, torch.tensor([0.907606]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("normalised", "expected"), [("proxy", [1.0, 0.6]), ("dimension", [0.857493, 0.514496])]
)
def test_normalisation_by_hand(normalised, expected):
    proxies = given([[1.0, 0.0], [0.6, 0.8]], [0, 1], [0, 0], normalised=normalised)
    similarities = torch.tensor([1.0, 0.0]) @ proxies.rows.T
    torch.testing.assert_close(similarities, torch.tensor(expected), rtol=0, atol=1e-6)


def test_feature_without_a_positive_has_neither_loss_nor_gradient():
    """Of the one camera of cluster 1, and of another cluster in one camera that is all there is."""
    both = given([[1.0, 0.0], [0.0, 1.0]], [0, 1], [0, 0])
    alone = given([[1.0, 0.0]], [0], [0])
    for proxies, target in ((both, 1), (alone, 0)):
        feature = torch.tensor([[0.6, 0.8]], requires_grad=True)
        losses = camera_proxy_losses(
            feature, torch.tensor([target]), torch.tensor([0]), proxies, with_own_camera=False
        )
        losses.sum().backward()
        assert losses.tolist() == [0.0]
        assert feature.grad.tolist() == [[0.0, 0.0]]


def test_one_cluster_has_no_negatives():
    proxies = given([[1.0, 0.0], [0.0, 1.0]], [0, 0], [0, 1])
    feature = torch.tensor([[1.0, 0.0]])
    loss = camera_proxy_losses(
        feature, torch.tensor([0]), torch.tensor([0]), proxies, temperature=1.0
    )
    expected = -torch.log_softmax(torch.tensor([1.0, 0.0]), 0).mean()
    torch.testing.assert_close(loss, expected[None])


def test_own_proxies_never_become_negatives():
    """With fewer than 50 negatives the released codes let masked positives in again."""
    settings = {"temperature": 0.5, "with_own_camera": False}
    features = features_of(2, 3)
    targets = torch.tensor([0, 1, 2])
    cameras = torch.tensor([5, 5, 0])
    few = camera_proxy_losses(features, targets, cameras, proxies_of(), negatives=4, **settings)
    many = camera_proxy_losses(features, targets, cameras, proxies_of(), negatives=50, **settings)
    torch.testing.assert_close(few, many)


def test_half_precision_is_computed_in_float32():
    losses = camera_proxy_losses(
        300 * features_of(1, 5).half(), LABELS[:5].clamp(min=0), CAMERAS[:5], proxies_of()
    )
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
