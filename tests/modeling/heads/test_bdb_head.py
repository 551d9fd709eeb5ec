"""BDBHead against its definition, written out slowly."""

import math
import warnings

import pytest
import torch

from fastreid_ext.modeling.heads import BatchDrop, BDBHead


def head_of(classes=5, channels=16, **kwargs):
    torch.manual_seed(0)
    return BDBHead(feat_dim=channels, num_classes=classes, global_dim=6, part_dim=10, **kwargs)


def features_of(count=8, channels=16, size=(6, 2), dtype=torch.float32):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(2)).to(dtype)


def slow_feature(features, head, branch, rows=None):
    """Compute the feature of a branch by its definition; zero ``rows`` of the part branch's map."""
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


def test_bdb_head_training_equals_slow_definition():
    head = with_random_norms(head_of()).double().train()
    features = features_of(dtype=torch.float64)
    torch.manual_seed(5)
    outputs = head(features)
    torch.manual_seed(5)
    top = int(torch.randint(5, ()))  # the only sample: 2 of 6 rows
    for branch, rows in (("global", None), ("part", slice(top, top + 2))):
        expected = slow_feature(features, head, branch, rows)
        own = getattr(head, f"{branch}_head")
        logits = expected @ own.weight.T + own.bias
        torch.testing.assert_close(outputs[branch]["features"], expected)
        torch.testing.assert_close(outputs[branch]["cls_outputs"], logits)
        torch.testing.assert_close(outputs[branch]["pred_class_logits"], logits)


def test_bdb_head_evaluation_concatenates_both_features():
    head = with_random_norms(head_of()).double().eval()
    features = features_of(dtype=torch.float64)
    expected = [slow_feature(features, head, branch) for branch in ("global", "part")]
    torch.testing.assert_close(head(features), torch.cat(expected, dim=1))


def test_bdb_head_has_the_papers_parameters():
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


def test_bdb_head_starts_with_kaiming_weights():
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


def test_bdb_head_without_classes_gives_features():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = head_of(classes=0)
    assert head.eval()(features_of()).shape == (8, 16)


def test_bdb_head_needs_the_width_of_the_backbone():
    with pytest.raises(ValueError, match=r"multiple of 4 channels, got 0; set MODEL.BACKBONE.FEAT"):
        BDBHead(feat_dim=0, num_classes=5)


def test_bdb_head_gradcheck():
    head = head_of(channels=4, classes=3).double()
    features = features_of(4, 4, (3, 2), torch.float64).requires_grad_()

    def losses(features):
        torch.manual_seed(3)  # the same stripe at each call
        outputs = head(features)
        return outputs["global"]["cls_outputs"].sum(), outputs["part"]["features"].pow(2).sum()

    assert torch.autograd.gradcheck(losses, (features,), atol=1e-4)


def test_bdb_head_dropped_rows_have_no_gradient():
    features = features_of().requires_grad_()
    drop = BatchDrop(0.33, 1.0)
    torch.manual_seed(0)
    top, _, rows, _ = drop.sample(6, 2)
    torch.manual_seed(0)
    drop(features).sum().backward()
    assert not features.grad[:, :, top : top + rows].any()
    assert (features.grad.sum(dim=(0, 1)) != 0).sum() == 6 * 2 - rows * 2
