"""GLT: its loss from its parts, its labels, and which weights have a gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.modeling.losses import (
    cluster_centroids,
    smoothed_cross_entropy,
    soft_triplet_loss,
)
from fastreid_ext.modeling.meta_arch.mean_teacher import outputs_of
from fastreid_ext.neighbours.optimal_transport import transported_labels

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "DATASETS.SOURCES": ("DukeMTMC",),
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "MODEL.META_ARCHITECTURE": "GLT",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.NUM_CLASSES": 9,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": 0.1,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.GLT.CLUSTERS": [2, 3, 4],
    "MODEL.GLT.CHOSEN": 1,
    "MODEL.GLT.DROPOUT": 0.0,
}
SOURCE_IMAGES = 5
GROUPS = torch.tensor([[0, 0, 1, 1, 1, 0], [2, 0, 1, 1, 0, 2], [3, 0, 1, 1, 0, 2]])
INDICES = torch.tensor([0, 1, 3, 4, *(SOURCE_IMAGES + place for place in (2, 3, 0, 5))])
TARGETS = torch.tensor([0, 0, 1, 1, 2 + 1, 2 + 1, 2 + 2, 2 + 2])


def unit(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 128, generator=generator), dim=1)


def begun(changes=None, groups=GROUPS):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS | (changes or {}))).train()
    model.num_sources = 2
    model.num_images = SOURCE_IMAGES + 6
    model.begin_sources(unit(1, 5), torch.tensor([0, 0, 1, 1, 1]))
    model.begin_clusters(unit(2), groups[model.chosen], groups, epoch=0)
    return model


def images():
    return torch.rand(8, 3, 64, 32, generator=torch.Generator().manual_seed(3)) * 255


def losses_of(model):
    with EventStorage():
        return model({"images": images(), "targets": TARGETS, "indices": INDICES})


def test_loss_is_the_mean_of_the_groups_and_triplets_of_the_chosen_one():
    model = begun()
    losses = losses_of(model)
    student = outputs_of(model.backbone, model.heads, model.preprocess_image(images()))
    each = [
        smoothed_cross_entropy(student.neck[4:] @ rows.T, labels[[2, 3, 0, 5]], 0.1)
        for rows, labels in zip(model.heads.groups, GROUPS, strict=True)
    ]
    torch.testing.assert_close(losses["loss_cls"], sum(each) / 3)
    expected = soft_triplet_loss(student.pooled[4:], TARGETS[4:])
    torch.testing.assert_close(losses["loss_triplet"], expected)
    assert losses.keys() == {"loss_cls", "loss_triplet"}


def test_one_group_has_the_loss_of_the_plain_baseline():
    one = {"MODEL.GLT.CLUSTERS": [3], "MODEL.GLT.CHOSEN": 0}
    model = begun(one, GROUPS[1:2])
    losses = losses_of(model)
    student = outputs_of(model.backbone, model.heads, model.preprocess_image(images()))
    logits = student.neck[4:] @ model.heads.groups[0].T
    expected = F.cross_entropy(logits, TARGETS[4:] - 2, label_smoothing=0.1)
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_every_classifier_has_a_gradient_and_the_teacher_has_none():
    model = begun()
    sum(losses_of(model).values()).backward()
    assert all(rows.grad.any() for rows in model.heads.groups)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert not any(p.requires_grad for p in model.teacher_heads.parameters())


def test_source_images_reach_no_loss():
    first = losses_of(begun())
    model = begun()
    with EventStorage():
        batch = {"images": images(), "targets": TARGETS.clone(), "indices": INDICES.clone()}
        batch["targets"][:4] = 1
        batch["indices"][:4] = 2
        second = model(batch)
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_dropout_is_that_of_training_alone():
    model = begun({"MODEL.GLT.DROPOUT": 0.5})
    assert losses_of(model)["loss_cls"] != losses_of(model)["loss_cls"]
    model.eval()
    features = [model({"images": images()}) for _ in range(2)]
    assert torch.equal(*features)


def test_classifiers_begin_as_centroids_once():
    model = begun()
    for heads in (model.heads, model.teacher_heads):
        for rows, own in zip(heads.groups, GROUPS, strict=True):
            torch.testing.assert_close(rows.detach(), cluster_centroids(unit(2), own))
    before = [rows.detach().clone() for rows in model.heads.groups]
    model.begin_clusters(unit(4), GROUPS[1], GROUPS.flip(1), epoch=1)
    assert all(torch.equal(*pair) for pair in zip(before, model.heads.groups, strict=True))
    assert torch.equal(model.groups, GROUPS.flip(1))


def test_refined_labels_are_those_of_the_teachers_predictions_in_every_group():
    model = begun()
    with torch.no_grad():
        for heads, scale in ((model.heads, 5.0), (model.teacher_heads, 40.0)):
            for rows in heads.groups:
                rows.copy_(scale * torch.randn(rows.shape))
    features = unit(7)
    refined = model.refined_groups(features)
    assert refined.shape == (3, 6)
    assert refined.min() >= 0
    for labels, rows in zip(refined, model.teacher_heads.groups, strict=True):
        chances = (features @ rows.T).softmax(dim=1).T.double().numpy()
        assert np.array_equal(labels, transported_labels(chances, sharpness=25.0))
        assert len(set(labels.tolist())) == len(rows)  # equally large clusters


@pytest.mark.parametrize("is_applied", [True, False])
def test_teacher_moves_after_applied_steps_alone(is_applied):
    model = begun()
    before = model.teacher_heads.groups[0].clone()
    with torch.no_grad():
        model.heads.groups[0].add_(1)
    model.end_step(is_applied)
    expected = model.heads.groups[0] if is_applied else before
    torch.testing.assert_close(model.teacher_heads.groups[0], expected.detach())
    assert model.steps == int(is_applied)


def test_losses_under_autocast_are_float32_and_near():
    model = begun()
    expected = losses_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model)
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, expected[name], rtol=0.1, atol=0.05)
