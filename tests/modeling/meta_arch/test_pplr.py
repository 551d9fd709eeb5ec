"""PPLR: its losses by loops, its epoch's classifiers and agreements, and what a step moves."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.modeling.losses import cluster_centroids
from fastreid_ext.neighbours import cross_agreement

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "PPLR",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.NAME": "StripeHead",
    "MODEL.HEADS.NUM_CLASSES": 7,
    "MODEL.LOSSES.NAME": ("PPLRLoss", "CameraProxyLoss"),
    "MODEL.LOSSES.PPLR.NEIGHBOURS": 3,
    "MODEL.LOSSES.PPLR.BETA": 0.3,
    "MODEL.LOSSES.CAMERA_PROXY.SCALE": 2.0,
    "INPUT.SIZE_TRAIN": [96, 32],
    "INPUT.SIZE_TEST": [96, 32],
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}
LABELS = torch.tensor([0, 1, -1, 1, 2, 0, 2, 0])
CAMERAS = torch.tensor([3, 0, 1, 3, 3, 0, 7, 3])
INDICES = torch.tensor([7, 5, 3, 1, 6, 4])
TARGETS = LABELS[INDICES]
B = len(INDICES)


def unit_features():
    rows = torch.randn(len(LABELS), 4, 128, generator=torch.Generator().manual_seed(1))
    return F.normalize(rows + rows[:, :1], dim=-1)


def build(keys=KEYS, epoch=5):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(keys)).train()
    model.begin_clusters(unit_features(), LABELS, cameras=CAMERAS, epoch=epoch)
    return model


def batch():
    images = torch.rand(B, 3, 96, 32, generator=torch.Generator().manual_seed(2))
    return {
        "images": images * 255,
        "targets": TARGETS,
        "camids": CAMERAS[INDICES],
        "indices": INDICES,
    }


@pytest.mark.parametrize("epoch", [4, 5])
def test_losses_are_those_of_loops(epoch):
    """Written from the formulas, image by image."""
    model = build(epoch=epoch)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        features = twin.heads.all_features(twin.backbone(twin.preprocess_image(batch())))
    unit = unit_features()
    agreement = cross_agreement(unit, 3)
    assert len(agreement.unique()) > 2
    rows = [
        [F.normalize(unit[LABELS == c, s].mean(dim=0), dim=0) for c in range(3)] for s in range(4)
    ]
    pairs = [(0, 0), (0, 3), (1, 0), (1, 3), (2, 3), (2, 7)]
    proxies = [
        [F.normalize(unit[(LABELS == a) & (CAMERAS == b), s].mean(dim=0), dim=0) for a, b in pairs]
        for s in range(4)
    ]
    whole = part = triplet = 0.0
    cameras = [0.0] * 4
    for i, (index, target) in enumerate(zip(INDICES, TARGETS, strict=True)):
        logits = [torch.stack([features[s, i] @ row for row in rows[s]]) for s in range(4)]
        weights = torch.softmax(agreement[index], 0)
        predicted = sum(w * torch.softmax(logits[1 + p], 0) for p, w in enumerate(weights))
        aim = 0.3 * F.one_hot(target, 3) + 0.7 * predicted
        whole -= aim @ torch.log_softmax(logits[0], 0) / B
        for p in range(3):
            log_found = torch.log_softmax(logits[1 + p], 0)
            own = agreement[index, p]
            if epoch < 5:
                smooth = 0.9 * F.one_hot(target, 3) + 0.1 / 3
                part -= smooth @ log_found / B / 3
            else:
                divergence = (torch.tensor(1 / 3).log() - log_found).mean()
                part += (-own * log_found[target] + (1 - own) * divergence) / B / 3
        distances = (features[0] - features[0, i]).norm(dim=1)
        same = target == TARGETS
        triplet += F.softplus(distances[same].max() - distances[~same].min()) / B
        for s in range(4):
            cosines = [F.cosine_similarity(features[s, i], q, dim=0) / 0.07 for q in proxies[s]]
            positives = [
                value
                for value, (a, b) in zip(cosines, pairs, strict=True)
                if a == target and b != CAMERAS[index]
            ]
            others = [value for value, (a, _) in zip(cosines, pairs, strict=True) if a != target]
            total = torch.logsumexp(torch.stack([*positives, *others]), 0)
            if positives:
                cameras[s] += sum(total - value for value in positives) / len(positives) / B
    expected = {
        "loss_global": whole,
        "loss_triplet": triplet,
        "loss_part": part,
        "loss_camera": 2 * (cameras[0] + sum(cameras[1:]) / 3),
    }
    losses = {name: loss.detach() for name, loss in model(batch()).items()}
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


def test_variant_without_cameras_has_all_terms_but_that_of_cameras():
    losses = {name: loss.detach() for name, loss in build()(batch()).items()}
    keys = {key: value for key, value in KEYS.items() if "CAMERA_PROXY" not in key}
    agnostic = build(keys | {"MODEL.LOSSES.NAME": ("PPLRLoss",)})
    assert agnostic.proxies is None
    losses.pop("loss_camera")
    found = {name: loss.detach() for name, loss in agnostic(batch()).items()}
    assert found == losses


def test_classifiers_begin_as_centroids_of_their_space_and_others_are_zero():
    model = build()
    for number, branch in enumerate(model.heads.branches()):
        rows = branch.weight.detach()
        assert torch.equal(rows[:3], cluster_centroids(unit_features()[:, number], LABELS))
        torch.testing.assert_close(rows[:3].norm(dim=1), torch.ones(3))
        assert not rows[3:].any()
    model.begin_clusters(unit_features(), LABELS.clamp(max=1), cameras=CAMERAS, epoch=6)
    assert all(not branch.weight[2:].any() for branch in model.heads.branches())
    assert (model.num_clusters, model.epoch) == (2, 6)


def test_agreement_is_looked_up_by_the_position_of_the_image():
    model = build()
    usual = model(batch())["loss_part"].item()
    shifted = batch() | {"indices": INDICES.roll(1)}
    assert model(shifted)["loss_part"].item() != pytest.approx(usual, rel=1e-4)


def test_loss_of_the_whole_image_moves_no_classifier_of_a_part():
    model = build()
    model(batch())["loss_global"].backward()
    weights = [branch.weight.grad for branch in model.heads.branches()]
    assert weights[0][:3].any()
    assert not any(weight.any() for weight in weights[1:])
    assert not weights[0][3:].any()


def test_step_moves_every_trained_weight_and_no_agreement_or_proxy():
    model = build()
    before = {name: value.clone() for name, value in model.named_buffers()}
    sum(model(batch()).values()).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trained.values())
    model.end_step(True)
    for name, value in model.named_buffers():
        moves = "running_" in name or "num_batches" in name
        assert torch.equal(value, before[name]) != moves, name
    assert {name for name in before if "running_" not in name} >= {"agreement", "proxies.3.rows"}


def test_state_has_what_the_weights_do_not_give_and_evaluation_needs_no_more():
    model = build()
    names = set(model.state_dict())
    assert not any("agreement" in name or "proxies" in name for name in names)
    assert "heads.part2_head.weight" in names
    images = torch.rand(2, 3, 96, 32) * 255
    model.eval()
    whole = model({"images": images.clone()})
    every = model.training_features({"images": images.clone()})
    assert every.shape == (2, 4, 128)
    assert torch.equal(whole, every[:, 0])


def test_batch_of_one_cluster_learns_all_the_same():
    model = build()
    losses = model(batch() | {"targets": torch.zeros(B, dtype=torch.long)})
    assert losses["loss_triplet"] == 0
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_clusters_of_one_camera_each_have_no_camera_term():
    model = build()
    one = torch.zeros(len(LABELS), dtype=torch.long)
    model.begin_clusters(unit_features(), LABELS, cameras=one, epoch=5)
    losses = model(batch() | {"camids": one[INDICES]})
    assert losses["loss_camera"] == 0


def test_all_parts_agree_before_the_first_clustering():
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS)).train()
    assert model.agreement is None
    losses = model(batch() | {"indices": INDICES + 1000})
    assert all(loss.isfinite() for loss in losses.values())


def test_losses_under_autocast_are_float32_and_near():
    expected = {name: loss.detach() for name, loss in build()(batch()).items()}
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(batch())
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    found = {name: loss.detach() for name, loss in losses.items()}
    torch.testing.assert_close(found, expected, rtol=0.3, atol=0.3)  # random weights
