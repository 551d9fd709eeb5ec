"""Swins of timm, Microsoft, torchvision, OpenMMLab and SOLIDER compute what they did."""

import re

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from fastreid_ext.modeling.backbones.swin import SwinBackbone, SwinSize

SIZE = SwinSize(16, (1, 2, 2, 2), (1, 2, 4, 8))
WINDOW = 7


@pytest.fixture
def swin_of():
    def build(semantic_weight=-1.0):
        torch.manual_seed(0)
        return SwinBackbone(SIZE, semantic_weight=semantic_weight).eval()

    return build


def timm_swin():
    return SwinTransformer(
        img_size=224, embed_dim=16, depths=SIZE.depths, num_heads=SIZE.heads, num_classes=5
    )


def square_images():
    """At 224 every map is a multiple of the window, where timm's Swin equals all others."""
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))


def of_microsoft(state):
    """The names before timm 0.9: a stage ends with its merging; its buffers are stored."""
    renamed = {
        re.sub(
            r"layers\.(\d)\.downsample",
            lambda found: f"layers.{int(found[1]) - 1}.downsample",
            name,
        ): value
        for name, value in state.items()
    }
    renamed = {name.replace("head.fc.", "head."): value for name, value in renamed.items()}
    renamed["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(
        49, 49, dtype=torch.long
    )
    renamed["layers.1.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    return renamed


@pytest.mark.parametrize("layout", [dict, of_microsoft])
def test_swin_of_timm_and_microsoft(layout, tmp_path, randomised, load, swin_of):
    network = randomised(timm_swin())
    torch.save({"model": layout(network.state_dict())}, tmp_path / "swin.pth")
    backbone = swin_of()
    report = load(backbone, tmp_path / "swin.pth")
    assert report.family == "swin"
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    assert any(name.startswith("head.") for name in report.dropped)
    expected = network.forward_features(square_images()).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone(square_images()), expected)


def test_swin_of_torchvision(tmp_path, randomised, load, swin_of):
    network = randomised(
        TorchvisionSwin(
            patch_size=[4, 4],
            embed_dim=16,
            depths=list(SIZE.depths),
            num_heads=list(SIZE.heads),
            window_size=[WINDOW, WINDOW],
            num_classes=5,
        )
    )
    torch.save(network.state_dict(), tmp_path / "swin.pth")
    backbone = swin_of()
    report = load(backbone, tmp_path / "swin.pth")
    assert report.family == "swin"
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    images = torch.randn(2, 3, 96, 64)
    expected = network.norm(network.features(images)).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone(images), expected)


# --- OpenMMLab's Swin with SOLIDER's controller, written from the papers and the key names


class Attention(nn.Module):
    """``attn`` of a block; its inner module is ``w_msa``."""

    def __init__(self, width, heads):
        super().__init__()
        self.w_msa = nn.Module()
        self.w_msa.qkv = nn.Linear(width, 3 * width)
        self.w_msa.proj = nn.Linear(width, width)
        table = torch.zeros((2 * WINDOW - 1) ** 2, heads)
        self.w_msa.relative_position_bias_table = nn.Parameter(table)

    def bias(self):
        """(heads, 49, 49), entry by entry."""
        positions = [(row, column) for row in range(WINDOW) for column in range(WINDOW)]
        index = [
            [(a - c + WINDOW - 1) * (2 * WINDOW - 1) + (b - d + WINDOW - 1) for c, d in positions]
            for a, b in positions
        ]
        return self.w_msa.relative_position_bias_table[torch.tensor(index)].permute(2, 0, 1)

    def forward(self, windows, mask):
        count, tokens, width = windows.shape
        heads = self.w_msa.relative_position_bias_table.shape[1]
        qkv = self.w_msa.qkv(windows).view(count, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        scores = qkv[0] @ qkv[1].transpose(-1, -2) / (width // heads) ** 0.5 + self.bias() + mask
        return self.w_msa.proj((scores.softmax(-1) @ qkv[2]).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width, heads, shift):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.shift = shift
        self.ffn = nn.Module()
        hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0))
        self.ffn.layers = nn.Sequential(hidden, nn.Linear(4 * width, width), nn.Dropout(0))

    def forward(self, x):
        x = x + self.in_windows(self.norm1(x))
        return x + self.ffn.layers(self.norm2(x))

    def in_windows(self, x):
        """Pad, shift, and attend window by window; tokens of other regions are masked by -100."""
        rows, columns = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -columns % WINDOW, 0, -rows % WINDOW))
        height, width = x.shape[1:3]
        region = torch.zeros(height, width)
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            cuts = (slice(0, -WINDOW), slice(-WINDOW, -self.shift), slice(-self.shift, None))
            for i, cut in enumerate(cuts):
                for j, other in enumerate(cuts):
                    region[cut, other] = 3 * i + j
        result = torch.empty_like(x)
        for top in range(0, height, WINDOW):
            for left in range(0, width, WINDOW):
                at = (slice(top, top + WINDOW), slice(left, left + WINDOW))
                labels = region[at].flatten()
                mask = (labels[:, None] != labels[None]) * -100.0
                window = x[:, at[0], at[1]]
                result[:, at[0], at[1]] = self.attn(window.flatten(1, 2), mask).view_as(window)
        return result.roll((self.shift, self.shift), (1, 2))[:, :rows, :columns]


class Merging(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        _, rows, columns, _ = x.shape
        x = F.pad(x, (0, 0, 0, columns % 2, 0, rows % 2))
        unfolded = F.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(
            1, 2
        )  # channel by channel
        return self.reduction(self.norm(unfolded)).unflatten(1, ((rows + 1) // 2, -1))


class OpenMMLabSwin(nn.Module):
    """OpenMMLab's names and patch merging; with a weight, SOLIDER's controller after each stage."""

    def __init__(self, semantic_weight=None):
        super().__init__()
        widths = [16 * 2**index for index in range(4)]
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, 16, 4, 4)
        self.patch_embed.norm = nn.LayerNorm(16)
        self.stages = nn.ModuleList()
        for index, width in enumerate(widths):
            stage = nn.Module()
            stage.blocks = nn.ModuleList(
                Block(width, SIZE.heads[index], WINDOW // 2 * (block % 2))
                for block in range(SIZE.depths[index])
            )
            stage.downsample = Merging(width) if index < 3 else None
            self.stages.append(stage)
            setattr(self, f"norm{index}", nn.LayerNorm(width))
        self.weight = semantic_weight
        if semantic_weight is not None:
            after = [*widths[1:], widths[3]]
            self.semantic_embed_w = nn.ModuleList(nn.Linear(2, width) for width in after)
            self.semantic_embed_b = nn.ModuleList(nn.Linear(2, width) for width in after)

    def forward(self, images):
        x = self.patch_embed.norm(self.patch_embed.projection(images).permute(0, 2, 3, 1))
        for index, stage in enumerate(self.stages):
            for block in stage.blocks:
                x = block(x)
            output = x
            if stage.downsample is not None:
                x = stage.downsample(x)
            if self.weight is not None:
                pair = torch.tensor([self.weight, 1 - self.weight])
                w = self.semantic_embed_w[index](pair)
                b = self.semantic_embed_b[index](pair)
                x = x * F.softplus(w) + b
        return self.norm3(output).permute(0, 3, 1, 2)


def solider_file(network):
    """As SOLIDER's training writes it: student and teacher with DINO's head."""
    teacher = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    teacher["head.mlp.0.weight"] = torch.ones(4, 128)
    index = "backbone.stages.0.blocks.0.attn.w_msa.relative_position_index"
    teacher[index] = torch.zeros(49, 49, dtype=torch.long)
    student = {f"module.{name}": value + 1 for name, value in teacher.items()}
    return {"student": student, "teacher": teacher, "epoch": 100, "optimizer": {"state": {}}}


@pytest.mark.parametrize("size", [(96, 32), (256, 128)])
def test_solider_computes_equal_features(size, tmp_path, randomised, load, swin_of):
    network = randomised(OpenMMLabSwin(semantic_weight=0.3))
    torch.save(solider_file(network), tmp_path / "solider.pth")
    backbone = swin_of(semantic_weight=0.3)
    half = {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3}
    report = load(backbone, tmp_path / "solider.pth", **half)
    assert report.family == "solider"
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    assert report.notes == ["read from its key teacher, not from student, epoch, optimizer"]
    assert {"semantic_embed_w.3.weight", "semantic_embed_b.3.bias"} <= set(report.dropped)
    assert {"head.mlp.0.weight", "backbone.norm0.weight"} <= set(report.dropped)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(backbone(images), network(images), rtol=1e-4, atol=1e-4)


def test_solider_needs_half_and_its_controller(tmp_path, randomised, load, swin_of):
    network = randomised(OpenMMLabSwin(semantic_weight=0.3))
    state = {f"base.{name}": value for name, value in network.state_dict().items()}
    torch.save({**state, "bottleneck.weight": torch.ones(4)}, tmp_path / "solider_reid.pth")
    report = load(swin_of(), tmp_path / "solider_reid.pth")
    assert any("SEMANTIC_WEIGHT is negative" in note for note in report.notes)
    (warning,) = report.warnings
    assert 'MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in warning


def test_swin_of_openmmlab_has_no_controller(tmp_path, randomised, load, swin_of):
    network = randomised(OpenMMLabSwin())
    torch.save({"state_dict": network.state_dict()}, tmp_path / "mm.pth")
    backbone = swin_of()
    assert load(backbone, tmp_path / "mm.pth").family == "swin"
    # Where one window covers a map, OpenMMLab shifts it all the same, and the authors do not.
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(backbone(images), network(images), rtol=1e-4, atol=1e-4)


def test_swin_without_controller_is_a_warning(tmp_path, randomised, load, swin_of):
    torch.save(randomised(timm_swin()).state_dict(), tmp_path / "swin.pth")
    report = load(swin_of(semantic_weight=0.2), tmp_path / "swin.pth")
    assert len(report.matching.new) == 12
    assert any(
        "stays random" in text and "SEMANTIC_WEIGHT -1.0" in text for text in report.warnings
    )
    assert report.matching.share == 1


def test_swin_tables_of_other_windows_are_resized(tmp_path, randomised, load, swin_of):
    """Files for 384 pixels have windows of 12."""
    network = randomised(
        SwinTransformer(
            img_size=384, embed_dim=16, depths=SIZE.depths, num_heads=SIZE.heads, window_size=12
        )
    )
    state = network.state_dict()
    # A bias that grows by one a row: 23 rows become 13, centre stays on centre.
    rows = torch.arange(23.0).repeat_interleave(23)[:, None]
    state["layers.0.blocks.0.attn.relative_position_bias_table"] = rows
    torch.save(state, tmp_path / "swin.pth")
    backbone = swin_of()
    report = load(backbone, tmp_path / "swin.pth")
    table = backbone.layers[0].blocks[0].attn.relative_position_bias_table.view(13, 13)
    torch.testing.assert_close(table[6], torch.full((13,), 11.0))
    torch.testing.assert_close(table[7] - table[6], torch.full((13,), 23 / 13), rtol=0.03, atol=0)
    assert len(report.resized) == sum(SIZE.depths)
    assert (
        "layers.0.blocks.0.attn.relative_position_bias_table: (529, 1) -> (169, 1)"
        in report.resized[0]
    )
    assert report.reshaped == report.resized
