"""How processes start, wait for each other and end; training in several: test_processes.py."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.engine.launch import gpu_of_process, launch, use_device
from fastreid_ext.ranks import Ranks

from .tiny import overrides

SCRIPT = Path(__file__).with_name("together_in_processes.py")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_as_srun(folder: Path, *arguments: str) -> list[tuple[int, str]]:
    """Run the script in two processes with Slurm's variables; return their codes and outputs."""
    common = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(SCRIPT.parents[2]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), *arguments],
            env={**os.environ, **common, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return [(p.returncode, out) for p, out in zip(processes, outputs, strict=True)]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """Run two processes and return the findings of each."""
    folder = tmp_path_factory.mktemp("waits")
    outcomes = run_as_srun(folder, "waits")
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_tasks_of_a_slurm_step_are_one_run(found):
    assert [part["rank"] for part in found] == [0, 1]
    assert [part["local"] for part in found] == [[0, 2], [1, 2]]


@pytest.mark.slow
def test_waiting_for_the_main_process_outlives_the_groups_timeout(found):
    for part in found:
        assert part["result"] == "done"
        assert part["barrier"], "a barrier was expected to time out, else this test shows nothing"


@pytest.mark.slow
def test_an_evaluation_outlives_the_groups_timeout(found):
    assert found[0]["evaluation"]["Rank-1"] == 100
    assert found[1]["evaluation"] == {}


@pytest.mark.slow
def test_a_failure_of_the_main_process_is_named_by_the_others(found):
    assert found[0]["failure"].startswith("IndexError: ")
    said = "RuntimeError: the work failed on the main process: IndexError("
    assert found[1]["failure"].startswith(said)


@pytest.mark.slow
def test_parameters_without_a_gradient_are_named(found):
    for part in found:
        assert (
            "got none for unused.weight, unused.bias; set MODEL.FIND_UNUSED_PARAMETERS True"
            in (part["unused"])
        )
        assert part["unused, by key"] == part["unused, by attribute"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_ends_all_and_is_named(tmp_path, failing):
    """With gloo's timeout of 30 minutes; nothing else ends the process that waits."""
    began = time.monotonic()
    outcomes = run_as_srun(tmp_path, "fails", str(failing))
    assert time.monotonic() - began < 60
    assert [code for code, _ in outcomes] == [1, 1]
    assert "OSError: an image is broken" in outcomes[failing][1]
    said = f"process {failing} of 2 failed: OSError: an image is broken; process {1 - failing}, "
    assert said in outcomes[1 - failing][1]


@pytest.mark.parametrize(
    ("device", "ranks", "gpus", "number"),
    [
        ("cuda", Ranks(), 4, 0),
        ("cuda:1", Ranks(), 4, 1),
        ("cuda", Ranks(3, 4, 3), 4, 3),
        ("cuda", Ranks(5, 8, 1, 1), 4, 1),
        # A launcher that shows each process its own GPU only.
        ("cuda", Ranks(3, 4, 3), 1, 0),
    ],
)
def test_gpu_of_a_process(device, ranks, gpus, number):
    assert gpu_of_process(device, ranks, gpus) == number


def test_a_gpu_that_cannot_be_is_refused():
    with pytest.raises(
        ValueError, match="expected a GPU below the 2 that torch sees, got number 2"
    ):
        gpu_of_process("cuda:2", Ranks(), 2)
    with pytest.raises(ValueError, match=r"got number 3 for process 3 .*start fewer processes"):
        gpu_of_process("cuda", Ranks(3, 4, 3), 2)
    with pytest.raises(ValueError, match=r"expected MODEL\.DEVICE cuda with 2 processes.*cuda:1"):
        gpu_of_process("cuda:1", Ranks(1, 2, 1), 2)
    with pytest.raises(ValueError, match=r"expected at most .* processes"):
        launch(print, (), device="cuda", processes=99)
    use_device("cpu")


@pytest.mark.parametrize("device", ["cpu", "meta", "cuda:1"])
def test_batches_go_where_the_model_is(market_root, tmp_path, device):
    """A loader for the first GPU beside a model on the second ended every such run."""
    cfg = load_config("", overrides(market_root, tmp_path, DATALOADER__NUM_WORKERS=0))
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    loader = build_train_loader(cfg)
    assert loader.device == torch.device(device)
