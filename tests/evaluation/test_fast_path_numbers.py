"""The fast data path changes no number in training and testing on rendered identities."""

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

pytestmark = pytest.mark.slow  # renders 128 images

PATHS = {"fast": True, "classic": False}
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
def configurations(tmp_path_factory):
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
    return {
        name: load_config(
            "",
            [
                str(part)
                for pair in {**keys, "INPUT.FAST_PATH.ENABLED": on}.items()
                for part in pair
            ],
        )
        for name, on in PATHS.items()
    }


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
def models(configurations):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {name: trained(cfg) for name, cfg in configurations.items()}
    torch.set_num_threads(threads)


def test_training_sees_the_same_losses_and_ends_with_the_same_weights(models):
    fast, fast_losses = models["fast"]
    classic, classic_losses = models["classic"]
    assert fast_losses == classic_losses
    assert all(map(torch.equal, fast.parameters(), classic.parameters()))
    assert sum(fast_losses[-5:]) < 0.6 * sum(fast_losses[:5])


@pytest.mark.parametrize("name", PATHS)
def test_rank_1_and_map_are_the_same_wherever_trained_and_tested(configurations, models, name):
    """Equal without tolerance; this is why INPUT.FAST_PATH is on by default."""
    model, _ = models[name]
    fast = scores(model, configurations["fast"])
    classic = scores(model, configurations["classic"])
    assert fast == classic
    torch.manual_seed(0)
    assert fast[1] > scores(Embedding(), configurations["fast"])[1] + 0.03
