"""A tiny Market-1501 tree, and a model with random weights."""

import cv2
import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from ..tiny_cfg import tiny_cfg

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": "128",
    "MODEL.HEADS.WITH_BNNECK": "True",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "TEST.IMS_PER_BATCH": "4",
    "TEST.NUM_WORKERS": "0",
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def market_root(tmp_path_factory):
    """Two queries and nine gallery images of two sizes."""
    root = tmp_path_factory.mktemp("datasets")
    rng = np.random.default_rng(0)
    for split, count in (("bounding_box_train", 2), ("query", 2), ("bounding_box_test", 9)):
        folder = root / "Market-1501-v15.09.15" / split
        folder.mkdir(parents=True)
        for number in range(count):
            size = (128, 64, 3) if number % 2 else (90, 41, 3)
            name = f"{number % 2 + 1:04d}_c{number % 3 + 1}s1_{number:06d}_00.jpg"
            cv2.imwrite(str(folder / name), rng.integers(0, 256, size, dtype=np.uint8))
    return root


@pytest.fixture(scope="session")
def save_model(tmp_path_factory):
    """Return a function from changed keys to a configuration file and a checkpoint."""

    def save(classes=5, seed=0, **changes):
        folder = tmp_path_factory.mktemp("model")
        cfg = tiny_cfg(TINY, **changes)
        (folder / "config.yaml").write_text(cfg.dump())
        cfg.defrost()
        cfg.MODEL.HEADS.NUM_CLASSES = classes
        torch.manual_seed(seed)
        model = build_model(cfg)
        _unsettle(model)
        torch.save({"model": model.state_dict()}, folder / "model_final.pth")
        return folder / "config.yaml", folder / "model_final.pth"

    return save


def _unsettle(model):
    """Give normalisations statistics that would show if they were left out."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)


@pytest.fixture(scope="session")
def tiny(save_model):
    return save_model()
