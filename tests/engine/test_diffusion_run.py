"""Trainings with a diffusion branch on a tiny real Stable Diffusion."""

import json
import math
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, load_model
from fastreid_ext.engine.checkpoint import AtomicCheckpointer, read_checkpoint
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import matrix_runs

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
        if changes.get("MODEL__DIFFUSION__UNET", "lora") != "lora":
            del keys["MODEL__DIFFUSION__RANK"]  # nothing reads it
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
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
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


class Overflowing(Trainer):
    """Runs one step with a weight at which float16 overflows."""

    def run_step(self) -> None:
        if self.iter != 2:
            return super().run_step()
        kernel = self.model.diffusion_branch.unet.conv_out.weight
        before = kernel.detach().clone()
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        kernel.data.fill_(6e4)
        super().run_step()
        kernel.data.copy_(before)
        assert not self.step_applied
        for name, value in self.model.named_buffers():
            assert torch.equal(value, buffers[name]), name
        assert buffers["memory.prototypes"].any()


@pytest.mark.slow
def test_step_that_overflows_is_skipped_by_name_and_leaves_the_prototypes(make_cfg, caplog):
    changes = {"MODEL__DIFFUSION__DTYPE": "float16", "SOLVER__NON_FINITE__MAX_SKIPPED": 1}
    cfg = make_cfg(**changes, SOLVER__MAX_EPOCH=1)
    run(Overflowing, cfg)
    log = (Path(cfg.OUTPUT_DIR) / "log.txt").read_text()
    assert "loss is NaN or infinite at iteration 2" in log
    assert "loss_diffusion = nan" in log or "loss_diffusion = inf" in log
    assert "step skipped (1 of 1 allowed)" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"UNET": "frozen", "CONDITION": "instance", "BOTTLENECK": "bn"},
        {"UNET": "partial1", "CONDITION": "class", "BOTTLENECK": "silu"},
        {"UNET": "partial2", "DTYPE": "bfloat16", "BOTTLENECK": "bn_silu"},
        {"UNET": "full", "BOTTLENECK": "condition_net", "TARGET": "latent"},
        {"UNET": "scratch", "SINGLE_TOKEN_ATTENTION": False, "CHANNELS_LAST": True},
        {"RANDOM_WEIGHTS": True, "TEMPERATURE": 0.1, "SCALE": 0.3},
    ],
)
def test_every_kind_of_branch_trains_and_resumes_exactly(make_cfg, changes):
    changes = {f"MODEL__DIFFUSION__{key}": value for key, value in changes.items()}
    whole = run(Trainer, make_cfg("whole", **changes))
    run(Trainer, make_cfg("stopped", **changes), stop_at=9)
    resumed = run(Trainer, make_cfg("stopped", **changes), resume=True)
    ours = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, ours[name]), name
    lines = (Path(whole.cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    losses = [json.loads(line)["loss_diffusion"] for line in lines]
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)


def killed_before(cfg, name: str) -> None:
    """Train until a file is due, and die as by SIGKILL between it and the file beside it."""
    write = AtomicCheckpointer._write

    def dies(checkpointer, path, content) -> None:
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        write(checkpointer, path, content)

    AtomicCheckpointer._write = dies  # in a process of its own
    run(Trainer, cfg)


@pytest.mark.slow
def test_run_killed_between_the_two_files_of_a_checkpoint_resumes_exactly(make_cfg):
    whole = run(Trainer, make_cfg("whole", SOLVER__MAX_EPOCH=3))
    cfg = make_cfg("killed", SOLVER__MAX_EPOCH=3)
    child = multiprocessing.get_context("fork").Process(
        target=killed_before, args=(cfg, "model_0001.pth"), daemon=True
    )
    child.start()
    child.join(timeout=120)
    assert child.exitcode == -signal.SIGKILL
    folder = Path(cfg.OUTPUT_DIR)
    assert (folder / "last_checkpoint").read_text() == "model_0000.pth"
    assert [path.name for path in folder.glob("model_0001*")] == ["model_0001.12.training.pt"]
    resumed = run(Trainer, cfg, resume=True)
    ours = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, ours[name]), name


@pytest.mark.slow
def test_best_model_has_no_file_beside_it_and_the_latest_takes_its_with_it(make_cfg):
    keys = {"SOLVER__CHECKPOINT_PERIOD": 2, "TEST__EVAL_PERIOD": 1, "SOLVER__MAX_EPOCH": 3}
    cfg = make_cfg(**keys)
    run(Trainer, cfg)
    folder = Path(cfg.OUTPUT_DIR)
    checkpoints = {path.stem for path in folder.glob("*.pth")}
    assert checkpoints == {"model_0001", "model_best", "model_final"}
    assert {path.name for path in folder.glob("*.training.pt")} == {
        "model_0001.12.training.pt",
        "model_final.18.training.pt",
    }


@pytest.mark.slow
def test_matrix_that_discards_weights_discards_the_files_beside_them(
    market_root, tmp_path, make_cfg
):
    recipe = tmp_path / "branch.yml"
    recipe.write_text(make_cfg(SOLVER__MAX_EPOCH=1).dump())
    root = tmp_path / "datasets"
    root.mkdir()
    (root / "RenderedCampus").symlink_to(market_root / "Market-1501-v15.09.15")
    (planned,) = matrix_runs(
        [recipe],
        [(("RenderedCampus",), ("RenderedCampus",), ())],
        seeds=(0,),
        overrides=["DATASETS.ROOT", str(root)],
    )
    output = tmp_path / "out"
    assert len(run_matrix([planned], output).cells) == 1
    assert len(list(output.rglob("*.training.pt"))) == 1
    (planned.folder(output) / "tests/RenderedCampus/evaluation.json").unlink()
    assert len(run_matrix([planned], output, keep_weights=False).cells) == 1
    assert not list(output.rglob("*.training.pt"))
    assert not list(output.rglob("*.pth"))
