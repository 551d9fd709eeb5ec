"""IDM: its losses from their parts, its normalisation layers, and what moves in a step."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.modeling.losses import triplet_loss
from fastreid.utils.events import EventStorage

from fastreid_ext.modeling.domain_batch_norm import separate_domains
from fastreid_ext.modeling.losses import (
    bank_triplet_loss,
    bridge_feature_loss,
    bridge_prediction_loss,
    mixing_diversity_loss,
    smoothed_cross_entropy,
)

from ...tiny_cfg import tiny_cfg

BASELINE = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "DomainBaseline",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NUM_CLASSES": 9,
    "MODEL.DOMAIN_BN.ENABLED": True,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": 0.1,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.LOSSES.TRI.MARGIN": 0.3,
    "DATASETS.SOURCES": ("Market1501",),
    "DATASETS.NAMES": ("MSMT17",),
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}
IDM = BASELINE | {
    "MODEL.META_ARCHITECTURE": "IDM",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss", "BankTripletLoss", "BridgeLoss"),
}
TARGETS = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4])  # two source identities, clusters 0 and 2


def build(keys, **changes):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(keys, changes)).train()
    domains = {"domains_of": model.domains_of} if hasattr(model, "domains_of") else {}
    separate_domains(model, group=0, **domains)
    generator = torch.Generator().manual_seed(1)
    features = F.normalize(torch.randn(12, 512, generator=generator), dim=1)
    model.num_sources = 2
    model.num_images = 12
    model.begin_sources(features[:4], torch.tensor([0, 0, 1, 1]))
    model.begin_clusters(features[4:], torch.tensor([0, 0, 1, 1, -1, 2, 2, 2]))
    return model


def step(model):
    """Run forward and backward; return the losses and the outputs of the head."""
    outputs = {}
    handle = model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    images = torch.rand(8, 3, 64, 32, generator=torch.Generator().manual_seed(2)) * 255
    with EventStorage():
        losses = model({"images": images, "targets": TARGETS})
    sum(losses.values()).backward()
    handle.remove()
    return losses, outputs


def test_losses_are_those_of_their_parts():
    model = build(IDM)
    shares = []
    model.mixing.register_forward_pre_hook(
        lambda module, inputs: shares.append(module.shares(*inputs[0].chunk(2)))
    )
    losses, outputs = step(model)
    logits = outputs["cls_outputs"][:, :5]
    features = outputs["features"]
    assert len(features) == 12
    [share] = shares
    own = triplet_loss(features[:8], TARGETS, 0.3, False, True)
    expected = {
        "loss_cls": 0.3 * smoothed_cross_entropy(logits[:8], TARGETS, 0.1),
        "loss_triplet": own,
        "loss_bank_triplet": own,  # the bank begins with this batch
        "loss_bridge_prediction": 0.7
        * bridge_prediction_loss(logits[8:], TARGETS[:4], TARGETS[4:], share[:, 0], 0.1),
        "loss_bridge_feature": 0.1
        * bridge_feature_loss(features[8:], features[:4], features[4:8], share),
        "loss_diversity": mixing_diversity_loss(share),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


def test_without_module_and_weight_it_is_the_baseline():
    off = {
        "MODEL.IDM.STAGE": -1,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    }
    losses, _ = step(build(IDM | off))
    expected, _ = step(build(BASELINE))
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(losses[name], value), name


@pytest.mark.parametrize("stage", [0, 2, 4])
def test_norms_behind_the_module_see_three_domains(stage):
    model = build(IDM, **{"MODEL.IDM.STAGE": stage})
    sees_three = {
        name.removesuffix(".mixed") for name, _ in model.named_modules() if name.endswith(".mixed")
    }
    for name in ("backbone.bn1", "backbone.layer1.0.bn1", "backbone.layer2.0.downsample.1"):
        number = int(name[14]) if "layer" in name else 0
        assert (name in sees_three) == (number > stage), name
    assert ("backbone.layer4.1.bn2" in sees_three) == (stage < 4)
    assert "heads.bottleneck.0" in sees_three
    losses, _ = step(model)
    assert all(loss.isfinite() for loss in losses.values())


def test_everything_learns_but_rows_without_a_class_and_the_frozen_bias():
    model = build(IDM)
    step(model)
    rows = model.heads.weight.grad
    assert rows[:5].any(dim=1).all()
    assert not rows[5:].any()
    without = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    # The shares sum to 1, so the last bias has a gradient; nothing else is left out either.
    assert without == []
    assert not model.heads.bottleneck[0].bias.requires_grad


def test_only_the_running_statistics_of_a_domain_follow_its_images():
    model = build(IDM)
    norm = model.backbone.layer1[0].bn1
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    step(model)
    means = [norm.source.running_mean, norm.running_mean, norm.mixed.running_mean]
    assert all(not torch.equal(mean, before["running_mean"]) for mean in means)
    assert not torch.equal(means[0], means[1])


def test_bank_is_written_after_a_step_that_was_applied_and_cleaned_of_clusters():
    model = build(IDM)
    _, outputs = step(model)
    assert len(model.bank) == 0
    model.end_step(False)
    assert len(model.bank) == 0
    step(model)
    model.end_step(True)
    assert len(model.bank) == 8
    assert model.bank.features.shape == (12, 512)  # one entry for each training image
    losses, outputs = step(model)
    entries = [(outputs["features"][:8], TARGETS), (model.bank.features[:4], TARGETS[:4])]
    entries += [(model.bank.features[4:8], TARGETS[4:])]
    expected = bank_triplet_loss(outputs["features"][:8], TARGETS, entries[:1] + entries[2:], 0.3)
    torch.testing.assert_close(losses["loss_bank_triplet"], expected)  # 12 entries: 4 oldest go
    features = F.normalize(torch.randn(8, 512), dim=1)
    model.begin_clusters(features, torch.tensor([0, 0, 1, 1, 1, -1, 0, 1]))
    assert len(model.bank) == 4
    assert (model.bank.labels[:4] < 2).all()


def test_bank_keeps_labels_of_the_past_where_the_code_is_followed():
    model = build(IDM, **{"MODEL.LOSSES.BANK_TRIPLET.CLEAN": False})
    step(model)
    model.end_step(True)
    model.begin_clusters(F.normalize(torch.randn(8, 512), dim=1), torch.tensor([0] * 4 + [1] * 4))
    assert len(model.bank) == 8


def test_evaluation_sees_no_module():
    model = build(IDM).eval()
    images = torch.rand(3, 3, 64, 32) * 255
    plain = build_model(tiny_cfg(BASELINE)).eval()
    state = {name: value for name, value in model.state_dict().items() if "mixing" not in name}
    plain.load_state_dict(state, strict=False)
    found = model({"images": images.clone()})
    assert found.shape == (3, 512)
    torch.testing.assert_close(found, plain({"images": images}))
