"""Trainings with a diffusion branch on a tiny real Stable Diffusion."""

from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, load_model
from fastreid_ext.engine.checkpoint import read_checkpoint

from .tiny import overrides, run

BRANCH = {
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.DIFFUSION.ENABLED": True,
    "MODEL.DIFFUSION.RANK": 2,
    "INPUT.CLEAN_VIEW.SIZE": [32, 16],
    "DATALOADER.NUM_WORKERS": 0,
}


@pytest.fixture
def make_cfg(market_root, tmp_path, tiny_pipeline_folder):
    def make(name: str = "run", **changes: object):
        keys = {key.replace(".", "__"): value for key, value in BRANCH.items()}
        keys["MODEL__DIFFUSION__BASE_MODEL"] = str(tiny_pipeline_folder)
        return load_config("", overrides(market_root, tmp_path / name, **{**keys, **changes}))

    return make


@pytest.fixture
def make_baseline(market_root, tmp_path):
    def make(name: str = "run", **changes: object):
        keys = {
            key.replace(".", "__"): value
            for key, value in BRANCH.items()
            if "DIFFUSION" not in key and "CLEAN_VIEW" not in key
        }
        return load_config("", overrides(market_root, tmp_path / name, **{**keys, **changes}))

    return make


def test_run_with_a_branch_learns_and_leaves_a_model_without_it(make_cfg, make_baseline):
    cfg = make_cfg()
    trainer = run(Trainer, cfg)
    branch = trainer.model.diffusion_branch
    adapters = [p for name, p in branch.unet.named_parameters() if "lora_B" in name]
    assert all(adapter.any() for adapter in adapters if adapter.grad.any())
    assert any(adapter.any() for adapter in adapters)
    folder = Path(cfg.OUTPUT_DIR)
    final = read_checkpoint(folder / "model_final.pth")
    assert not [name for name in final["model"] if "diffusion" in name]
    assert "optimizer" not in final
    (companion,) = folder.glob("model_final.*.training.pt")
    assert companion.name == final["training_file"]
    apart = read_checkpoint(companion)
    assert all(name.startswith("diffusion_branch.") for name in apart["model"])
    assert "optimizer" in apart
    frozen = {
        f"diffusion_branch.{name}"
        for name, parameter in branch.named_parameters()
        if not parameter.requires_grad
    }
    assert not frozen & set(apart["model"])

    model = load_model(make_baseline(MODEL__HEADS__NUM_CLASSES=8), folder / "model_final.pth")
    images = torch.rand(4, 3, 64, 32) * 255
    trainer.model.eval()
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images.clone()), trainer.model(images.clone()))


def test_run_with_a_branch_resumes_exactly(make_cfg):
    whole = run(Trainer, make_cfg("whole"))
    run(Trainer, make_cfg("stopped"), stop_at=9)
    resumed = run(Trainer, make_cfg("stopped"), resume=True)
    ours = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, ours[name]), name
