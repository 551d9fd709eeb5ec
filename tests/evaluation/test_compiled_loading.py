"""Compiled loading changes no number against Pillow: training and tests on rendered images."""

import contextlib
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.evaluation.features import extract_features
from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.writer import render_domain

from ..data.pillow_transforms import loading_by_pillow

pytestmark = pytest.mark.slow  # renders 128 images

PATHS = {"compiled": contextlib.nullcontext, "pillow": loading_by_pillow}
STEPS = 40
BATCH = 16


class Embedding(nn.Module):
    """Network of three convolutions, from a batch of images to features (B, 256)."""

    def __init__(self):
        super().__init__()
        layers = []
        for channels, wider in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(channels, wider, 3, 2, 1), nn.BatchNorm2d(wider), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, batch):
        # Four horizontal stripes of the image.
        features = self.layers((batch["images"] - 118) / 58)
        return F.adaptive_avg_pool2d(features, (4, 1)).flatten(1)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered")
    render_domain(Settings("RenderedCampus", 8, 8, 8, 0, height=64, width=32), root)
    keys = {
        "SEED": 3,
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
        "INPUT.SIZE_TRAIN": [80, 40],
        "INPUT.SIZE_TEST": [80, 40],
        "INPUT.FLIP.ENABLED": True,
        "INPUT.PADDING.ENABLED": True,
        "INPUT.PADDING.SIZE": 4,
        "INPUT.REA.ENABLED": True,
        "DATASETS.ROOT": str(root),
        "DATASETS.NAMES": ("RenderedCampus",),
        "DATASETS.TESTS": ("RenderedCampus",),
        "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": BATCH,
        "TEST.NUM_WORKERS": 0,
    }
    return load_config("", [str(part) for pair in keys.items() for part in pair])


def trained(cfg):
    torch.manual_seed(0)
    model = Embedding()
    classifier = nn.Linear(256, 8)
    optimizer = torch.optim.Adam([*model.parameters(), *classifier.parameters()], lr=3e-3)
    losses = []
    for batch in itertools.islice(iter(build_train_loader(cfg)), STEPS):
        loss = F.cross_entropy(classifier(model(batch)), batch["targets"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def scores(model, cfg):
    metrics = extract_features(model, *build_test_loader(cfg, "RenderedCampus")).metrics()
    return metrics.cmc[0], metrics.mAP, metrics.mINP


@pytest.fixture(scope="module")
def models(cfg):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for name, path in PATHS.items():
        with path():
            found[name] = trained(cfg)
    yield found
    torch.set_num_threads(threads)


def test_training_sees_the_same_losses_and_ends_with_the_same_weights(models):
    compiled, compiled_losses = models["compiled"]
    pillow, pillow_losses = models["pillow"]
    assert compiled_losses == pillow_losses
    assert all(map(torch.equal, compiled.parameters(), pillow.parameters()))
    assert sum(compiled_losses[-5:]) < 0.6 * sum(compiled_losses[:5])


@pytest.mark.parametrize("name", PATHS)
def test_rank_1_and_map_are_the_same_wherever_trained_and_tested(cfg, models, name):
    """Tolerance: none; compiled loading has no switch because of it."""
    model, _ = models[name]
    compiled = scores(model, cfg)
    with loading_by_pillow():
        assert scores(model, cfg) == compiled
    torch.manual_seed(0)
    assert compiled[1] > scores(Embedding(), cfg)[1] + 0.03
