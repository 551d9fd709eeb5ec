"""Losses of Batch DropBlock against their definition, and the whole model."""

import math

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.utils.events import EventStorage

from fastreid_ext.config import load_config
from fastreid_ext.engine.checkpoint import AtomicCheckpointer

R18 = [
    *("MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "BDB", "MODEL.HEADS.NAME", "BDBHead"),
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"),
    *("MODEL.BACKBONE.FEAT_DIM", "512", "MODEL.BACKBONE.LAST_STRIDE", "1"),
    *("MODEL.BACKBONE.PRETRAIN", "False", "MODEL.LOSSES.TRI.MARGIN", "0.0"),
    *("MODEL.LOSSES.NAME", "('CrossEntropyLoss', 'TripletLoss')"),
    *("MODEL.LOSSES.TRI.HARD_MINING", "True", "MODEL.LOSSES.CE.EPSILON", "0.1"),
]


def model_of(classes=5, *changes):
    torch.manual_seed(0)
    return build_model(load_config("", [*R18, "MODEL.HEADS.NUM_CLASSES", str(classes), *changes]))


def batch_of(count=8, size=(96, 32)):
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1)) * 255
    return {"images": images, "targets": torch.arange(count) // 2}


def slow_losses(outputs, targets, epsilon=0.1):
    """Smoothed cross-entropy and batch-hard soft-margin triplet, image by image."""
    losses = {}
    for branch, output in outputs.items():
        logits = output["cls_outputs"].double()
        features = output["features"].double()
        classes = logits.shape[1]
        total = 0.0
        triplet = 0.0
        for i, target in enumerate(targets.tolist()):
            probabilities = [math.exp(x) for x in logits[i].tolist()]
            logs = [math.log(p / sum(probabilities)) for p in probabilities]
            others = sum(logs) - logs[target]
            total -= (1 - epsilon) * logs[target] + epsilon / (classes - 1) * others
            distances = [math.dist(features[i].tolist(), f) for f in features.tolist()]
            farthest = max(
                d for d, t in zip(distances, targets.tolist(), strict=True) if t == target
            )
            nearest = min(
                d for d, t in zip(distances, targets.tolist(), strict=True) if t != target
            )
            triplet += math.log1p(math.exp(farthest - nearest))
        losses[f"loss_cls_{branch}"] = total / len(targets)
        losses[f"loss_triplet_{branch}"] = triplet / len(targets)
    return losses


def outputs_of(scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(4)
    return {
        branch: {
            "cls_outputs": (torch.randn(8, 5, generator=generator) * scale).to(dtype),
            "pred_class_logits": torch.randn(8, 5, generator=generator),
            "features": (torch.randn(8, width, generator=generator).relu() * scale).to(dtype),
        }
        for branch, width in (("global", 6), ("part", 10))
    }


def losses_of(model, outputs, targets=None):
    with EventStorage():
        return model.losses(outputs, torch.arange(8) // 2 if targets is None else targets)


@pytest.fixture(scope="module")
def model():
    return model_of()


def test_bdb_losses_equal_slow_definition(model):
    outputs = outputs_of()
    got = losses_of(model, outputs)
    expected = slow_losses(outputs, torch.arange(8) // 2)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name].item() == pytest.approx(value, rel=1e-4), name


def test_bdb_losses_follow_weights_and_names():
    weighted = model_of(5, "MODEL.LOSSES.CE.SCALE", "0.5", "MODEL.LOSSES.TRI.SCALE", "2.0")
    got = losses_of(weighted, outputs_of())
    plain = losses_of(model_of(), outputs_of())
    for name, value in got.items():
        assert value == (0.5 if "cls" in name else 2.0) * plain[name]
    keys = ("MODEL.LOSSES.NAME", "('TripletLoss',)", "MODEL.LOSSES.CE.EPSILON", "0.0")
    only = model_of(5, *keys)
    assert set(losses_of(only, outputs_of())) == {"loss_triplet_global", "loss_triplet_part"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bdb_losses_are_finite_for_half_precision_features_of_norm_1e4(model, dtype):
    outputs = outputs_of(scale=4e3, dtype=dtype)  # squares leave float16 at 256
    assert 5e3 < outputs["global"]["features"].float().norm(dim=1).mean() < 2e4
    for output in outputs.values():
        output["features"].requires_grad_()
        output["cls_outputs"].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(model, outputs)
        total = sum(losses.values())
    total.backward()
    assert total.dtype == torch.float32
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(out["features"].grad).all() for out in outputs.values())


def test_bdb_losses_of_equal_features_are_log_2(model):
    outputs = outputs_of()
    for output in outputs.values():
        output["features"] = torch.ones_like(output["features"], requires_grad=True)
    losses = losses_of(model, outputs)
    assert losses["loss_triplet_part"].item() == pytest.approx(math.log(2), abs=1e-5)
    sum(losses.values()).backward()
    assert torch.isfinite(outputs["part"]["features"].grad).all()


def test_bdb_losses_do_not_depend_on_batch_order(model):
    outputs = outputs_of()
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = {b: {k: v[order] for k, v in out.items()} for b, out in outputs.items()}
    got = losses_of(model, shuffled, (torch.arange(8) // 2)[order])
    for name, value in losses_of(model, outputs).items():
        torch.testing.assert_close(got[name], value)


def test_bdb_trains_and_evaluates_on_a_resnet(model):
    batch = batch_of()
    before = batch["images"].clone()
    with EventStorage():
        losses = model.train()(batch)
    assert {name.split("_")[1] for name in losses} == {"cls", "triplet"}
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.equal(batch["images"], before)
    with torch.no_grad():
        features = model.eval()(batch)
        again = model(batch)
    assert features.shape == (8, 1536)
    assert (features >= 0).all()  # of ReLUs, not normalised
    assert not torch.allclose(features.norm(dim=1), torch.ones(8))
    assert torch.equal(features, again)


def test_bdb_stripe_follows_torchs_global_generator(model):
    batch = batch_of()
    runs = []
    model.train()
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        with EventStorage(), torch.no_grad():
            runs.append(model(batch))
    assert runs[0] == runs[1]
    assert len({run["loss_triplet_part"].item() for run in runs}) > 1
    assert len({run["loss_triplet_global"].item() for run in runs}) == 1


def test_bdb_works_on_other_backbones():
    """A backbone of three lines, with three rows."""

    @BACKBONE_REGISTRY.register()
    def build_three_rows_backbone(cfg):
        return torch.nn.Conv2d(3, 8, (32, 16), stride=(32, 16))

    keys = ("MODEL.BACKBONE.NAME", "build_three_rows_backbone", "MODEL.BACKBONE.FEAT_DIM", "8")
    model = model_of(5, *keys)
    with EventStorage():
        assert len(model.train()(batch_of())) == 4
    assert model.eval()(batch_of()).shape == (8, 1536)


def test_bdb_autocast_has_float32_losses():
    model = model_of()
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.train()(batch_of())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bdb_autocast_to_float16_on_the_gpu():
    model = model_of(5, "MODEL.DEVICE", "cuda")
    batch = {key: value.cuda() for key, value in batch_of().items()}
    with EventStorage(), torch.autocast("cuda", dtype=torch.float16):
        losses = model.train()(batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_bdb_checkpoint_of_other_classes_loads_the_rest(tmp_path):
    source = model_of(classes=5)
    AtomicCheckpointer(source, str(tmp_path)).save("model_final")
    target = model_of(classes=9)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    checkpointer = AtomicCheckpointer(target, str(tmp_path), min_matched=0.99)
    checkpointer.load(str(tmp_path / "model_final.pth"))
    ours = target.state_dict()
    theirs = source.state_dict()
    differing = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert differing == {
        f"heads.{branch}_head.{kind}"
        for branch in ("global", "part")
        for kind in ("weight", "bias")
    }
