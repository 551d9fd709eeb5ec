"""Two gloo processes with a diffusion branch: equal memories, all gradients, exact resuming."""

import json
from pathlib import Path

import pytest
import torch

from fastreid_ext.engine.checkpoint import read_checkpoint

from ..two_processes import run_in_two_processes
from .diffusion_in_processes import run_job
from .test_diffusion_run import BRANCH
from .tiny import overrides

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("diffusion_in_processes.py")
BRANCHES = {
    "lora": {},
    "lora with queries": {"MODEL__DIFFUSION__SINGLE_TOKEN_ATTENTION": False},
    "full": {
        "MODEL__DIFFUSION__UNET": "full",
        "MODEL__DIFFUSION__CONDITION": "instance",
        "MODEL__DIFFUSION__BOTTLENECK": "condition_net",
    },
    "partial1": {"MODEL__DIFFUSION__UNET": "partial1", "MODEL__DIFFUSION__CONDITION": "class"},
    "frozen": {"MODEL__DIFFUSION__UNET": "frozen", "MODEL__DIFFUSION__TARGET": "latent"},
}


@pytest.fixture(scope="module")
def outputs(market_root, tmp_path_factory, tiny_pipeline_folder) -> Path:
    """Return a folder with runs of two processes by name, and "one" of one process."""
    folder = tmp_path_factory.mktemp("processes")
    branch = {key.replace(".", "__"): value for key, value in BRANCH.items()}
    branch["MODEL__DIFFUSION__BASE_MODEL"] = str(tiny_pipeline_folder)

    def job(output: str, changes: dict, **more: object) -> dict:
        changes = {**branch, "SOLVER__MAX_EPOCH": 1, **changes}
        if changes.get("MODEL__DIFFUSION__UNET", "lora") != "lora":
            changes.pop("MODEL__DIFFUSION__RANK")
        return {"keys": overrides(market_root, folder / output, **changes), **more}

    run_job(**job("one", {}))
    jobs = [job(name, changes) for name, changes in BRANCHES.items()]
    jobs += [
        job("whole", {"SOLVER__MAX_EPOCH": 2}),
        job("resumed", {}),
        job("resumed", {"SOLVER__MAX_EPOCH": 2}, resume=True),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    run_in_two_processes(SCRIPT, folder / "jobs.json", timeout=400)
    return folder


def of_rank(folder: Path, rank: int) -> dict:
    return torch.load(folder / f"rank{rank}.pth", weights_only=True)


@pytest.mark.parametrize("name", BRANCHES)
def test_processes_train_one_model_with_one_memory(outputs, name):
    """DDP is not told to look for parameters without a gradient, and would stop at one."""
    first = of_rank(outputs / name, 0)
    second = of_rank(outputs / name, 1)
    assert torch.equal(first["prototypes"], second["prototypes"])
    moved = first["prototypes"][1:] != first["prototypes"][:-1]
    assert all(step.any() for step in moved)
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key


def test_processes_begin_with_the_prototypes_of_one(outputs):
    together = of_rank(outputs / "lora", 1)["prototypes"][0]
    alone = of_rank(outputs / "one", 0)["prototypes"][0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_checkpoint_holds_the_prototypes_of_every_process(outputs, rank):
    saved = read_checkpoint(outputs / "lora" / "model_final.pth")["model"]
    found = of_rank(outputs / "lora", rank)["model"]
    assert torch.equal(saved["memory.prototypes"], found["memory.prototypes"])


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_resume_exactly(outputs, rank):
    ours = of_rank(outputs / "resumed", rank)["model"]
    theirs = of_rank(outputs / "whole", rank)["model"]
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
