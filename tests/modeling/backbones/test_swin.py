import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones.swin import SIZES, SwinBackbone, SwinSize
from fastreid_ext.modeling.backbones.swin_stage import (
    WINDOW,
    WindowBlock,
    semantic_modulation,
    shift_mask,
)
from fastreid_ext.modeling.build import build_backbone

SMALL = SwinSize(24, (2, 2, 2, 2), (3, 3, 6, 6))
TIMM_NAMES = {size: f"swin_{size}_patch4_window7_224" for size in SIZES}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*size):
    return torch.randn(2, 3, *size)


@pytest.mark.parametrize("size", SIZES)
def test_swin_keys_and_shapes_are_timms(size):
    with torch.device("meta"):
        ours = SwinBackbone(SIZES[size]).state_dict()
        theirs = timm.create_model(TIMM_NAMES[size], num_classes=0).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@torch.no_grad()
def test_swin_output_is_timms_at_224():
    ours = SwinBackbone(SIZES["tiny"]).eval()
    theirs = timm.create_model(TIMM_NAMES["tiny"], num_classes=0, global_pool="").eval()
    theirs.load_state_dict(ours.state_dict())
    batch = images(224, 224)[:1]
    expected = theirs.forward_features(batch).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours(batch), expected)


def torchvision_keys(state, depths):
    """Our names for torchvision's: features.0 = patches, then stages and mergings in turn."""
    renamed = {}
    for key, value in state.items():
        part, *rest = key.split(".", 2)[1:] if key.startswith("features") else (None,)
        if key.endswith("relative_position_index") or key.startswith("head"):
            continue
        if part is None:
            name = key
        elif part == "0":
            name = "patch_embed." + rest[0].replace("0.", "proj.").replace("2.", "norm.")
        elif int(part) % 2:
            tail = rest[0].replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
            name = f"layers.{int(part) // 2}.blocks.{tail}"
        else:
            name = f"layers.{int(part) // 2}.downsample.{rest[0]}"
        renamed[name] = value
    return renamed


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 32), (96, 48), (256, 128)])
def test_swin_output_is_torchvisions_where_maps_are_padded(size):
    """torchvision pads before it shifts, as the authors do; timm does not."""
    theirs = TorchvisionSwin(
        patch_size=[4, 4],
        embed_dim=SMALL.width,
        depths=list(SMALL.depths),
        num_heads=list(SMALL.heads),
        window_size=[7, 7],
        stochastic_depth_prob=0.0,
    ).eval()
    ours = SwinBackbone(SMALL).eval()
    ours.load_state_dict(torchvision_keys(theirs.state_dict(), SMALL.depths))
    batch = images(*size)
    expected = theirs.norm(theirs.features(batch)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours(batch), expected, atol=1e-4, rtol=1e-4)


def naive_attention(block, x):
    """Attention of one shifted block position by position, without rolling or masks."""
    _, rows, columns, channels = x.shape
    size = [-(-side // WINDOW) * WINDOW for side in (rows, columns)]
    shift = [3 if block.shift_single or side > WINDOW else 0 for side in size]
    x = F.pad(x, (0, 0, 0, size[1] - columns, 0, size[0] - rows))
    heads = block.attn.num_heads
    attn = block.attn
    q, k, v = attn.qkv(x).reshape(*x.shape[:3], 3, heads, channels // heads).unbind(3)
    places = [
        (r, c, (r - shift[0]) % size[0], (c - shift[1]) % size[1])
        for r in range(size[0])
        for c in range(size[1])
    ]

    def seen(place):  # window, and on which side of the seam
        _, _, r, c = place
        seam = (r >= size[0] - shift[0], c >= size[1] - shift[1])
        return r // WINDOW, c // WINDOW, *seam

    out = torch.zeros_like(v)
    for place in places:
        r, c, shifted_r, shifted_c = place
        keys = [other for other in places if seen(other) == seen(place)]
        score = torch.stack([(q[:, r, c] * k[:, kr, kc]).sum(-1) for kr, kc, _, _ in keys], dim=-1)
        offset = [13 * (shifted_r - kr + 6) + shifted_c - kc + 6 for _, _, kr, kc in keys]
        bias = attn.relative_position_bias_table[offset].T
        weight = (score * (channels // heads) ** -0.5 + bias).softmax(dim=-1)  # (B, heads, keys)
        values = torch.stack([v[:, kr, kc] for kr, kc, _, _ in keys], dim=2)
        out[:, r, c] = (weight[..., None] * values).sum(dim=2)
    return attn.proj(out.flatten(3))[:, :rows, :columns]


@torch.no_grad()
@pytest.mark.parametrize("shift_single", [False, True])
@pytest.mark.parametrize("size", [(9, 4), (7, 7), (14, 3)])
def test_shifted_windows_equal_the_definition_as_loops(size, shift_single):
    block = WindowBlock(shifted=True, shift_single=shift_single, dim=8, num_heads=2)
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    x = torch.randn(2, *size, 8)
    torch.testing.assert_close(block._attn(x), naive_attention(block, x))


def test_shift_mask_along_one_axis():
    mask = shift_mask((14, 7), (3, 0), torch.zeros(1))
    assert mask.shape == (2, 49, 49)
    assert not mask[0].any()  # the upper window holds no seam
    allowed = mask[1] == 0
    assert allowed[0].reshape(7, 7).all(dim=1).tolist() == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((64, 32), 2, 1), ((50, 31), 2, 1), ((384, 128), 12, 4)]
)
@torch.no_grad()
def test_swin_takes_any_image_size(size, rows, columns):
    model = SwinBackbone(SMALL).eval()
    assert model(images(*size)).shape == (2, SMALL.width * 8, rows, columns)


def test_swin_drop_path_rises_to_its_rate():
    model = SwinBackbone(SMALL, drop_path=0.2)
    rates = [
        getattr(block.drop_path1, "drop_prob", 0.0)
        for stage in model.layers
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0.2 * index / 7 for index in range(8)])


@torch.no_grad()
@pytest.mark.parametrize("semantic_weight", [-1.0, 0.2])
def test_swin_trunk_and_last_stage_are_the_whole(semantic_weight):
    model = SwinBackbone(SMALL, semantic_weight=semantic_weight).eval()
    trunk, last_stage = model.split_last_stage()
    batch = images(64, 32)
    assert torch.equal(last_stage(trunk(batch)), model(batch))
    parts = {id(p) for part in (trunk, last_stage) for p in part.parameters()}
    assert parts == {id(p) for p in model.parameters()}


# --- SOLIDER's controller


@torch.no_grad()
def test_semantic_modulation_by_hand():
    embed_w = torch.nn.Linear(2, 1)
    embed_b = torch.nn.Linear(2, 1)
    embed_w.weight.copy_(torch.tensor([[1.0, 2.0]]))
    embed_b.weight.copy_(torch.tensor([[10.0, 20.0]]))
    embed_w.bias.fill_(0.5)
    embed_b.bias.fill_(-1.0)
    factor, summand = semantic_modulation(embed_w, embed_b, 0.2)
    # w = 0.2 + 1.6 + 0.5, b = 2 + 16 - 1.
    assert factor.item() == pytest.approx(2.395539, abs=1e-5)  # ln(1 + e^2.3)
    assert summand.item() == pytest.approx(17.0)


@torch.no_grad()
def test_controller_acts_after_each_patch_merging():
    model = SwinBackbone(SMALL, semantic_weight=0.3).eval()
    assert [tuple(layer.weight.shape) for layer in model.semantic_embed_w] == [
        (48, 2),
        (96, 2),
        (192, 2),
    ]
    batch = images(64, 32)
    tokens = []
    for stage in model.layers[1:]:
        stage.downsample.register_forward_hook(lambda _m, _i, output: tokens.append(output))
        stage.blocks.register_forward_pre_hook(lambda _m, arguments: tokens.append(arguments[0]))
    model(batch)
    pair = torch.tensor([0.3, 0.7])
    for index, (merged, modulated) in enumerate(zip(tokens[::2], tokens[1::2], strict=True)):
        w = model.semantic_embed_w[index](pair)
        b = model.semantic_embed_b[index](pair)
        torch.testing.assert_close(modulated, merged * torch.log1p(w.exp()) + b)


@torch.no_grad()
def test_controller_that_does_nothing_leaves_the_swin():
    model = SwinBackbone(SMALL, semantic_weight=1.0).eval()
    for embed_w, embed_b in zip(model.semantic_embed_w, model.semantic_embed_b, strict=True):
        torch.nn.init.zeros_(embed_w.weight)
        torch.nn.init.constant_(embed_w.bias, 0.5413248546)  # softplus gives 1
        torch.nn.init.zeros_(embed_b.weight)
    plain = SwinBackbone(SMALL).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    for module in plain.modules():
        if isinstance(module, WindowBlock):
            module.shift_single = True
    batch = images(64, 32)
    torch.testing.assert_close(model(batch), plain(batch))


def test_controller_alone_is_not_trained():
    model = SwinBackbone(SMALL, semantic_weight=0.2)
    model(images(64, 32)).square().mean().backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"semantic_embed_w", "semantic_embed_b"}
    assert len(frozen) == 12
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


def test_swin_from_configuration():
    keys = {
        "NAME": "build_swin_backbone",
        "DEPTH": "tiny",
        "FEAT_DIM": 0,
        "SEMANTIC_WEIGHT": 0.2,
        "DROP_PATH_RATIO": 0.3,
    }
    pairs = [part for key, value in keys.items() for part in (f"MODEL.BACKBONE.{key}", value)]
    cfg = load_config("", ["MODEL.DEVICE", "cpu", *pairs])
    assert cfg.MODEL.BACKBONE.FEAT_DIM == 768
    with torch.device("meta"):
        model = build_backbone(cfg)
    assert model.semantic_weight == 0.2
    assert model.layers[3].blocks[1].drop_path1.drop_prob == pytest.approx(0.3)
    assert len(model.layers[2].blocks) == 6
