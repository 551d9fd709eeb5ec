import cv2
import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from fastreid.modeling.meta_arch import build_model
from PIL import Image
from pytorch_grad_cam.utils.image import show_cam_on_image
from torch.nn import functional as F

from fastreid_ext.evaluation.activation_maps import activation_maps
from fastreid_ext.evaluation.pictures.activation_maps import MappedModel, plot_activation_maps

from ..tiny_cfg import tiny_cfg

SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.HEADS.WITH_BNNECK": "True",
    "MODEL.BACKBONE.NORM": "BN",
    "MODEL.BACKBONE.FEAT_DIM": "0",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
}
R18 = {"MODEL.BACKBONE.DEPTH": "18x"}
VIT = {"MODEL.BACKBONE.NAME": "build_plain_vit_backbone", "MODEL.BACKBONE.DEPTH": "tiny"}
SWIN = {
    "MODEL.BACKBONE.NAME": "build_swin_backbone",
    "MODEL.BACKBONE.DEPTH": "tiny",
    "INPUT.SIZE_TRAIN": "[96,64]",
    "INPUT.SIZE_TEST": "[96,64]",
}
BDB = {
    "MODEL.META_ARCHITECTURE": "BDB",
    "MODEL.HEADS.NAME": "BDBHead",
    "MODEL.HEADS.WITH_BNNECK": "False",
}
MGN = {"MODEL.META_ARCHITECTURE": "MGN", "MODEL.HEADS.EMBEDDING_DIM": "16"}
ICE = {
    "UNSUPERVISED.ENABLED": "True",
    "MODEL.META_ARCHITECTURE": "ICE",
    "MODEL.HEADS.WITH_BNNECK": "True",
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.LOSSES.NAME": "('ICELoss',)",
    "INPUT.VIEWS.RECIPE": "strong_weak",
    "DATALOADER.SAMPLER_TRAIN": "OnePerCameraSampler",
}
PPLR = {
    "UNSUPERVISED.ENABLED": "True",
    "MODEL.META_ARCHITECTURE": "PPLR",
    "MODEL.HEADS.NAME": "StripeHead",
    "MODEL.HEADS.WITH_BNNECK": "False",
    "MODEL.LOSSES.NAME": "('PPLRLoss',)",
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}
MODELS = {
    "BoT ResNet-18": R18,
    "AGW ResNet-18": {**R18, "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling"},
    "SBS ResNet-18": {**R18, "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPoolingP"},
    "BDB ResNet-18": {**R18, **BDB, "MODEL.BACKBONE.LAST_STRIDE": "1"},
    "ICE ResNet-18": {**R18, **ICE},
    "PPLR ResNet-18": {**R18, **PPLR, "MODEL.BACKBONE.LAST_STRIDE": "1"},
    "BoT Swin-T": SWIN,
    "BoT ViT class": {**VIT, "MODEL.BACKBONE.TOKENS": "class"},
    "BoT ViT patch": {**VIT, "MODEL.BACKBONE.TOKENS": "patch"},
    "MGN ViT": {
        **VIT,
        **MGN,
        "INPUT.SIZE_TRAIN": "[96,32]",
        "INPUT.SIZE_TEST": "[96,32]",
    },
}


def small_model(**changes):
    cfg = tiny_cfg(SMALL, changes)
    torch.manual_seed(0)
    return build_model(cfg).eval(), cfg


def random_images(count, size=(64, 32)):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1)) * 255


def scaled_and_resized(cam, size):
    """Clip negative contributions of a map (h, w), scale it to [0, 1] and enlarge it."""
    cam = np.maximum(cam, 0)
    cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
    cam = cv2.resize(cam.astype(np.float32), size)
    return (cam - cam.min()) / (cam - cam.min()).max()


def test_map_is_the_share_of_each_position_in_the_similarity_of_a_linear_head():
    """BoT: f_c = s_c (mean of A_c - mu_c), so position p adds sum_c r_c s_c A_c(p)."""
    model, _ = small_model(**R18)
    neck = model.heads.bottleneck[0]
    with torch.no_grad():
        neck.running_mean.uniform_(0, 1)
        neck.running_var.uniform_(0.5, 2)
    images = random_images(3)
    with torch.no_grad():
        reference = F.normalize(model(images[:1]), dim=1)[0]
        features = model(images)
        activations = model.backbone(model.preprocess_image(images)).numpy()
    maps, similarity = activation_maps(model, images, reference)
    cosines = F.cosine_similarity(features, reference[None]).numpy()
    np.testing.assert_allclose(similarity, cosines, rtol=1e-4, atol=1e-6)
    scale = (neck.weight / (neck.running_var + neck.eps).sqrt()).detach().numpy()
    for image in range(3):
        cam = np.zeros(activations.shape[2:])
        for channel, activation in enumerate(activations[image]):
            cam += float(reference[channel]) * scale[channel] * activation
        expected = scaled_and_resized(cam, (32, 64))
        np.testing.assert_allclose(maps[image], expected, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_maps_of_each_model(name):
    model, cfg = small_model(**MODELS[name])
    images = random_images(2, cfg.INPUT.SIZE_TEST)
    with torch.no_grad():
        before = model(images)
    reference = before[0].clone().requires_grad_()  # as of a model called with gradient
    maps, similarity = activation_maps(model, images, reference)
    assert maps.shape == (2, *cfg.INPUT.SIZE_TEST)
    assert maps[0].min() == 0
    assert maps[0].max() == pytest.approx(1, abs=1e-3)
    assert similarity[0] == pytest.approx(1, abs=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(model(images), before)  # no hook stays


def test_map_of_a_class_token_keeps_the_positions_of_patches():
    """The attention of the last block reads patch 5 only, which is row 2, column 1 of 4 x 2."""
    model, _ = small_model(**MODELS["BoT ViT class"])
    attention = model.backbone.blocks[-1].attn.register_forward_pre_hook(_only_patch_5)
    images = random_images(1)
    with torch.no_grad():
        reference = model(images)[0]
    maps, _ = activation_maps(model, images, reference)
    attention.remove()
    rows, columns = np.unravel_index(maps[0].argmax(), maps[0].shape)
    assert 32 <= rows < 48
    assert 16 <= columns < 32


def _only_patch_5(module, arguments):
    """Give all tokens the value of patch 5, so that the others have no influence."""
    tokens = arguments[0]
    boosted = tokens[:, 6:7] * 3
    return (torch.cat([boosted.expand_as(tokens)], dim=1), *arguments[1:])


def test_maps_of_named_layers():
    model, _ = small_model(**R18)
    images = random_images(1)
    reference = model(images)[0].detach()
    maps, _ = activation_maps(model, images, reference, ["backbone.layer2", "backbone.layer3"])
    assert maps.shape == (1, 64, 32)
    with pytest.raises(ValueError, match=r"unknown layer 'layer9'; .* parts are backbone, heads"):
        activation_maps(model, images, reference, ["layer9"])
    with pytest.raises(ValueError, match=r"expected a layer that gives a map .* \(1, 512, 1, 1\)"):
        activation_maps(model, images, reference, ["heads.pool_layer"])


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(0)
    chosen = []
    for pid in range(3):
        for camid in range(3):
            path = tmp_path / f"{pid}_{camid}.png"
            cv2.imwrite(str(path), rng.integers(0, 256, (64, 32, 3), dtype=np.uint8))
            chosen.append((str(path), pid, camid))
    return chosen


def plot(items, output, names=("",), **options):
    model, cfg = small_model(**R18)
    transform = build_transforms(cfg, is_train=False)
    models = [MappedModel(model, transform, name) for name in names]
    return plot_activation_maps(models, items, output, name="Toy", **options)


def test_plot_has_a_row_per_identity_and_a_pair_per_camera(items, tmp_path):
    picture = cv2.imread(str(plot(items, tmp_path / "maps.png", identities=2, cameras=3)))
    height, width, _ = picture.shape
    assert width == 3 * 2 * 72 + 2 * 6 + 2 * 6
    assert height == 2 * (136 + 18) + 2 * 18 + 3 * 6 + 2 * 6
    frame = picture[6 + 2 * (18 + 6) + 1, 6 + 1]
    assert tuple(frame) == (90, 90, 90)  # the reference


def test_plot_of_two_models_has_a_column_for_each(items, tmp_path):
    """Equal models have equal maps, of another camera's image too; the image is as in the file."""
    picture = cv2.imread(
        str(plot(items, tmp_path / "maps.png", ("one", "other"), identities=1, cameras=2))
    )
    height, width, _ = picture.shape
    assert width == 2 * 3 * 72 + 6 + 2 * 6
    assert height == (136 + 18) + 18 + 2 * 18 + 3 * 6 + 2 * 6
    top = 6 + 2 * (18 + 6) + 18 + 6
    cells = [picture[top : top + 136, 6 + k * 72 : 6 + (k + 1) * 72] for k in range(3)]
    np.testing.assert_array_equal(cells[1], cells[2])
    assert np.abs(cells[0].astype(int) - cells[1]).mean() > 10
    tiles = [
        cv2.resize(cv2.imread(path), (64, 128), interpolation=cv2.INTER_AREA) for path, *_ in items
    ]
    differences = [np.abs(cells[0][4:-4, 4:-4].astype(int) - tile).max() for tile in tiles]
    assert sorted(differences)[0] <= 1
    header = picture[top - 24 : top - 6, 6:-6]
    assert all(header[:, k * 72 : (k + 1) * 72].min() < 128 for k in range(3))


def test_plot_has_the_map_of_each_image_beside_it(items, tmp_path):
    """Of one identity under two cameras, one is the reference; both orders are tried."""
    picture = cv2.imread(str(plot(items[:2], tmp_path / "maps.png", identities=1, cameras=2)))
    model, cfg = small_model(**R18)
    transform = build_transforms(cfg, is_train=False)
    tops = 6 + 2 * (18 + 6) + 4
    found = [picture[tops : tops + 128, x : x + 64, ::-1] for x in (6 + 72 + 4, 6 + 3 * 72 + 6 + 4)]
    matches = []
    for paths in ([items[0][0], items[1][0]], [items[1][0], items[0][0]]):
        images = torch.stack([transform(Image.open(path)) for path in paths])
        maps, _ = activation_maps(model, images, model(images[:1])[0].detach())
        expected = [
            show_cam_on_image(
                np.repeat(np.repeat(np.asarray(Image.open(path), np.float32) / 255, 2, 0), 2, 1),
                cv2.resize(values, (64, 128)),
                use_rgb=True,
                colormap=cv2.COLORMAP_INFERNO,
                image_weight=0.45,
            )
            for path, values in zip(paths, maps, strict=True)
        ]
        differences = np.abs(np.subtract(found, expected, dtype=float))
        matches.append(differences.max() <= 2)
    assert sum(matches) == 1


def test_plot_refuses_identities_of_one_camera(items, tmp_path):
    alone = [(path, pid, 0) for path, pid, _ in items]
    with pytest.raises(ValueError, match="expected identities seen by two cameras, got none"):
        plot(alone, tmp_path / "maps.png")


def test_plot_names_an_unreadable_image(items, tmp_path):
    for path, _, _ in items:
        with open(path, "wb") as file:
            file.write(b"\x89PNG")
    with pytest.raises(OSError, match=r"cannot read image .*\.png"):
        plot(items, tmp_path / "maps.png")
    assert not (tmp_path / "maps.png").exists()
