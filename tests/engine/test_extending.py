"""The page docs/extending.md: its blocks are run as one file, and what they add is trained."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.engine import train
from fastreid_ext.engine.checkpoint import read_checkpoint

from .test_training import metrics

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def lines_of_code(block):
    """Count lines that are neither empty nor an import."""
    lines = [line for line in block.splitlines() if line.strip()]
    return sum(not line.startswith(("import ", "from ")) for line in lines)


@pytest.fixture(scope="module")
def project():
    """Return the page as an imported module."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 8
    assert all(lines_of_code(block) <= 20 for block in blocks[:5])
    assert all(lines_of_code(block) <= 32 for block in blocks)
    module = types.ModuleType("my_project")
    sys.modules["my_project"] = module
    exec(compile("\n".join(blocks), str(PAGE), "exec"), vars(module))
    yield module
    del sys.modules["my_project"]


@pytest.fixture
def root(tmp_path, project):
    """Return a folder with the page's data set: 5 persons, 2 cameras; the last has 2 images."""
    folder = tmp_path / "night_and_day"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for pid in range(5):
        for camera, number in [(1, 0), (2, 0), (1, 1), (2, 1)][: 2 if pid == 4 else 4]:
            colours = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            Image.fromarray(colours).save(folder / f"{pid}_{camera}_{number}.jpg")
    return tmp_path


CHANGES = {
    "DATASETS__NAMES": ("NightAndDay",),
    "DATASETS__TESTS": (),
    "SOLVER__ITERS_PER_EPOCH": 2,
    "SOLVER__CHECKPOINT_PERIOD": 1,
    "SOLVER__IMS_PER_BATCH": 4,
    "SOLVER__LOG_PERIOD": 1,
    "DATALOADER__NUM_WORKERS": 0,
}


def test_sampler_loss_step_hook_and_data_set_train_together(make_cfg, project, root):
    cfg = make_cfg(
        **CHANGES,
        DATASETS__ROOT=root,
        DATALOADER__SAMPLER_TRAIN="OneCameraPerBatch",
        MODEL__LOSSES__NAME=("CrossEntropyLoss", "CenterLoss"),
    )
    train(cfg, kind=project.MyTrainer)
    assert all(line["loss_center"] > 0 for line in metrics(cfg.OUTPUT_DIR))
    names = ("model_0000", "model_final")
    first, last = (read_checkpoint(Path(cfg.OUTPUT_DIR) / f"{name}.pth") for name in names)
    assert [one["small_identities"] for one in (first, last)] == [{"left_out": 2}, {"left_out": 0}]
    assert (first["loader"]["labels"] == -1).sum() == 2
    assert (last["loader"]["labels"] == -1).sum() == 0
    assert first["model"]["added_losses.loss_center.centers"].any()


def test_backbone_and_meta_architecture_train_on_both_modalities(make_cfg, project, root):
    cfg = make_cfg(
        **CHANGES,
        DATASETS__ROOT=root,
        DATALOADER__SAMPLER_TRAIN="TrainingSampler",
        MODEL__META_ARCHITECTURE="DayNightBaseline",
        MODEL__BACKBONE__NAME="build_four_layer_backbone",
        MODEL__BACKBONE__FEAT_DIM=64,
        MODEL__LOSSES__NAME=("CrossEntropyLoss", "CenterLoss"),
    )
    train(cfg)
    lines = metrics(cfg.OUTPUT_DIR)
    assert {"loss_cls", "loss_center", "loss_gap"} <= set(lines[-1])
