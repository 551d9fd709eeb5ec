"""Batch DropBlock against its definition, written out slowly."""

import math
import warnings
from collections import Counter

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.utils.events import EventStorage

from fastreid_ext.config import load_config
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.modeling.heads import BatchDrop, BDBHead

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


def head_of(classes=5, channels=16, **kwargs):
    torch.manual_seed(0)
    return BDBHead(feat_dim=channels, num_classes=classes, global_dim=6, part_dim=10, **kwargs)


def features_of(count=8, channels=16, size=(6, 2), dtype=torch.float32):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(2)).to(dtype)


# --- BatchDrop


def test_one_stripe_is_dropped_for_the_whole_batch_and_all_channels():
    features = torch.rand(5, 7, 24, 8) + 1
    torch.manual_seed(0)
    dropped = BatchDrop(0.33, 1.0).train()(features) == 0
    rows = dropped[0, 0].all(dim=1)
    assert rows.sum() == 8  # of 24, as with 384 x 128 images
    assert rows.nonzero().max() - rows.nonzero().min() == 7  # together
    assert (dropped == rows[None, None, :, None]).all()


def test_rest_of_the_map_is_kept_and_the_input_not_written_to():
    features = torch.rand(2, 3, 9, 4) + 1
    before = features.clone()
    kept = BatchDrop(0.33, 0.5).train()(features)
    assert torch.equal(features, before)
    assert (kept == 0).sum() == 2 * 3 * 3 * 2
    assert torch.equal(kept[kept != 0], features[kept != 0])


def test_nothing_is_dropped_in_eval_mode_nor_is_anything_drawn():
    features = torch.rand(2, 3, 9, 4)
    state = torch.get_rng_state()
    assert BatchDrop(0.33, 1.0).eval()(features) is features
    assert torch.equal(torch.get_rng_state(), state)


def test_every_position_comes_equally_often():
    torch.manual_seed(0)
    drop = BatchDrop(0.33, 0.5)
    corners = Counter(drop.sample(9, 6)[:2] for _ in range(7000))
    assert set(corners) == {(top, left) for top in range(7) for left in range(4)}
    # 250 expected, with a standard deviation of 15.5.
    assert all(180 < count < 320 for count in corners.values())


@pytest.mark.parametrize(("height", "rows"), [(3, 1), (4, 1), (6, 2), (12, 4), (16, 5), (24, 8)])
def test_size_is_rounded(height, rows):
    assert BatchDrop(0.33, 1.0).sample(height, 4)[2:] == (rows, 4)


@pytest.mark.parametrize(("ratios", "size"), [((0.33, 1.0), (1, 4)), ((0.9, 1.0), (3, 4))])
def test_says_when_nothing_or_everything_would_be_dropped(ratios, size):
    with pytest.raises(ValueError, match=r"would zero none or all of the \d x 4 feature map"):
        BatchDrop(*ratios).sample(*size)
    features = torch.rand(2, 3, *size)
    assert BatchDrop(*ratios).eval()(features) is features  # testing needs no rows


def test_ratios_are_shares():
    with pytest.raises(ValueError, match=r"expected height_ratio in \(0, 1\], got 1.5"):
        BatchDrop(1.5, 1.0)


# --- head


def slow_feature(features, head, branch, rows=None):
    """Return the feature of a branch by its definition; zero ``rows`` of the part branch's map."""
    own = getattr(head, f"{branch}_head")
    if branch == "part":
        block = head.part_block
        out = features
        for number in (1, 2, 3):
            weight = getattr(block, f"conv{number}").weight
            out = slow_norm(slow_conv(out, weight), getattr(block, f"bn{number}"))
            out = out.clamp(min=0) if number < 3 else out
        features = (out + features).clamp(min=0)
        if rows is not None:
            features = features.clone()
            features[:, :, rows] = 0
    pool = torch.mean if branch == "global" else torch.max
    pooled = torch.stack([torch.stack([pool(channel) for channel in image]) for image in features])
    reduced = pooled @ own.reduction[0].weight[:, :, 0, 0].T
    return slow_norm(reduced[:, :, None, None], own.reduction[1])[:, :, 0, 0].clamp(min=0)


def slow_conv(x, weight):
    """Correlate with a 1 x 1 or 3 x 3 kernel, zeros around the map."""
    (_, _, height, width) = x.shape
    border = weight.shape[-1] // 2
    padded = torch.zeros(*x.shape[:2], height + 2 * border, width + 2 * border, dtype=x.dtype)
    padded[:, :, border : border + height, border : border + width] = x
    shifted = [
        torch.einsum(
            "bchw,oc->bohw", padded[:, :, i : i + height, j : j + width], weight[..., i, j]
        )
        for i in range(2 * border + 1)
        for j in range(2 * border + 1)
    ]
    return sum(shifted)


def slow_norm(x, norm):
    """Normalise by the batch in training, else by the running statistics, channel by channel."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        mean = norm.running_mean[c]
        variance = norm.running_var[c]
        if norm.training:
            mean = x[:, c].mean()
            variance = ((x[:, c] - mean) ** 2).mean()
        out[:, c] = (x[:, c] - mean) / (variance + 1e-5).sqrt() * norm.weight[c] + norm.bias[c]
    return out


def with_random_norms(head):
    """Give normalisation layers other weights and statistics than 0 and 1."""
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var, module.bias.data):
                values.uniform_(0.5, 2)
            module.running_mean.normal_()
    return head


def test_training_output_equals_the_definition():
    head = with_random_norms(head_of()).double().train()
    features = features_of(dtype=torch.float64)
    torch.manual_seed(5)
    outputs = head(features)
    torch.manual_seed(5)
    top = int(torch.randint(5, ()))  # the only thing that is drawn: 2 of 6 rows
    for branch, rows in (("global", None), ("part", slice(top, top + 2))):
        expected = slow_feature(features, head, branch, rows)
        own = getattr(head, f"{branch}_head")
        logits = expected @ own.weight.T + own.bias
        torch.testing.assert_close(outputs[branch]["features"], expected)
        torch.testing.assert_close(outputs[branch]["cls_outputs"], logits)
        torch.testing.assert_close(outputs[branch]["pred_class_logits"], logits)


def test_eval_output_is_both_features_without_drop_or_normalisation():
    head = with_random_norms(head_of()).double().eval()
    features = features_of(dtype=torch.float64)
    expected = [slow_feature(features, head, branch) for branch in ("global", "part")]
    torch.testing.assert_close(head(features), torch.cat(expected, dim=1))


def test_parameters_at_resnet50_are_those_of_the_paper():
    head = BDBHead(feat_dim=2048, num_classes=751)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes["global_head.reduction.0.weight"] == (512, 2048, 1, 1)
    assert shapes["part_head.reduction.0.weight"] == (1024, 2048, 1, 1)
    assert (shapes["global_head.weight"], shapes["global_head.bias"]) == ((751, 512), (751,))
    assert (shapes["part_head.weight"], shapes["part_head.bias"]) == ((751, 1024), (751,))
    assert shapes["part_block.conv2.weight"] == (512, 512, 3, 3)
    block = 2048 * 512 + 512 * 512 * 9 + 512 * 2048 + 2 * (512 + 512 + 2048)
    reductions = 2048 * 512 + 2 * 512 + 2048 * 1024 + 2 * 1024
    classifiers = 751 * (512 + 1) + 751 * (1024 + 1)
    assert sum(p.numel() for p in head.parameters()) == block + reductions + classifiers


def test_initial_weights_are_kaimings():
    head = BDBHead(feat_dim=1024, num_classes=200)
    for weight, std in (
        (head.global_head.reduction[0].weight, math.sqrt(2 / 1024)),
        (head.part_head.reduction[0].weight, math.sqrt(2 / 1024)),
        (head.global_head.weight, math.sqrt(2 / 512)),
        (head.part_head.weight, math.sqrt(2 / 1024)),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.02)
        assert abs(weight.mean()) < std / 50
    assert not head.global_head.bias.any()
    assert not head.part_head.bias.any()


def test_head_without_classes_gives_features_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = head_of(classes=0)
    assert head.eval()(features_of()).shape == (8, 16)


def test_width_of_the_backbone_is_wanted():
    with pytest.raises(ValueError, match=r"multiple of 4 channels, got 0; set MODEL.BACKBONE.FEAT"):
        BDBHead(feat_dim=0, num_classes=5)


def test_gradients_are_right():
    head = head_of(channels=4, classes=3).double()
    features = features_of(4, 4, (3, 2), torch.float64).requires_grad_()

    def losses(features):
        torch.manual_seed(3)  # the same stripe at each call
        outputs = head(features)
        return outputs["global"]["cls_outputs"].sum(), outputs["part"]["features"].pow(2).sum()

    assert torch.autograd.gradcheck(losses, (features,), atol=1e-4)


def test_dropped_rows_have_no_gradient_in_the_part_branch():
    features = features_of().requires_grad_()
    drop = BatchDrop(0.33, 1.0)
    torch.manual_seed(0)
    top, _, rows, _ = drop.sample(6, 2)
    torch.manual_seed(0)
    drop(features).sum().backward()
    assert not features.grad[:, :, top : top + rows].any()
    assert (features.grad.sum(dim=(0, 1)) != 0).sum() == 6 * 2 - rows * 2


# --- losses


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


def test_losses_are_those_of_both_branches(model):
    outputs = outputs_of()
    got = losses_of(model, outputs)
    expected = slow_losses(outputs, torch.arange(8) // 2)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name].item() == pytest.approx(value, rel=1e-4), name


def test_weights_and_names_of_losses_are_keys():
    weighted = model_of(5, "MODEL.LOSSES.CE.SCALE", "0.5", "MODEL.LOSSES.TRI.SCALE", "2.0")
    got = losses_of(weighted, outputs_of())
    plain = losses_of(model_of(), outputs_of())
    for name, value in got.items():
        assert value == (0.5 if "cls" in name else 2.0) * plain[name]
    keys = ("MODEL.LOSSES.NAME", "('TripletLoss',)", "MODEL.LOSSES.CE.EPSILON", "0.0")
    only = model_of(5, *keys)
    assert set(losses_of(only, outputs_of())) == {"loss_triplet_global", "loss_triplet_part"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_features_of_norm_1e4_are_finite(model, dtype):
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


def test_equal_features_cost_log_2(model):
    outputs = outputs_of()
    for output in outputs.values():
        output["features"] = torch.ones_like(output["features"], requires_grad=True)
    losses = losses_of(model, outputs)
    assert losses["loss_triplet_part"].item() == pytest.approx(math.log(2), abs=1e-5)
    sum(losses.values()).backward()
    assert torch.isfinite(outputs["part"]["features"].grad).all()


def test_order_of_the_batch_does_not_matter(model):
    outputs = outputs_of()
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = {b: {k: v[order] for k, v in out.items()} for b, out in outputs.items()}
    got = losses_of(model, shuffled, (torch.arange(8) // 2)[order])
    for name, value in losses_of(model, outputs).items():
        torch.testing.assert_close(got[name], value)


# --- the whole model


def test_trains_and_tests_on_a_resnet(model):
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


def test_stripe_follows_torchs_global_generator(model):
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


def test_works_on_a_map_that_no_resnet_made():
    """A backbone of three lines, with three rows."""

    @BACKBONE_REGISTRY.register()
    def build_three_rows_backbone(cfg):
        return torch.nn.Conv2d(3, 8, (32, 16), stride=(32, 16))

    keys = ("MODEL.BACKBONE.NAME", "build_three_rows_backbone", "MODEL.BACKBONE.FEAT_DIM", "8")
    model = model_of(5, *keys)
    with EventStorage():
        assert len(model.train()(batch_of())) == 4
    assert model.eval()(batch_of()).shape == (8, 1536)


def test_autocast_trains_in_half_precision_with_float_losses():
    model = model_of()
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.train()(batch_of())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_autocast_to_float16_on_the_gpu():
    model = model_of(5, "MODEL.DEVICE", "cuda")
    batch = {key: value.cuda() for key, value in batch_of().items()}
    with EventStorage(), torch.autocast("cuda", dtype=torch.float16):
        losses = model.train()(batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_checkpoint_of_other_classes_loads_everything_else(tmp_path):
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
