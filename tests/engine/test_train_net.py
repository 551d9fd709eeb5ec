"""The command as a user calls it: killed, interrupted, fed with bad data."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import train
from fastreid_ext.engine.checkpoint import read_checkpoint

from .tiny import overrides

REPOSITORY = Path(__file__).resolve().parents[2]
# 4 epochs of 6 iterations; every iteration leaves a line to see how far the run is.
FOUR_EPOCHS = {"SOLVER__MAX_EPOCH": 4, "SOLVER__LOG_PERIOD": 1, "TEST__EVAL_PERIOD": 2}


def start(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tools/train_net.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def signal_in_the_third_epoch(process: subprocess.Popen, folder: Path, number: int) -> None:
    metrics = folder / "metrics.json"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 14):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, number)


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_run(market_root, tmp_path):
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    train(load_config("", overrides(market_root, whole, **FOUR_EPOCHS)))

    process = start(*overrides(market_root, killed, **FOUR_EPOCHS))
    signal_in_the_third_epoch(process, killed, signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert (killed / "last_checkpoint").read_text() == "model_0001.pth"
    assert not (killed / "model_final.pth").exists()

    code, output = finish(start("--resume", *overrides(market_root, killed, **FOUR_EPOCHS)))
    assert code == 0, output
    ours = read_checkpoint(killed / "model_final.pth")
    theirs = read_checkpoint(whole / "model_final.pth")
    unequal = [
        n for n, value in theirs["model"].items() if not torch.equal(ours["model"][n], value)
    ]
    assert unequal == []
    assert ours["best_metric"] == theirs["best_metric"]
    assert (killed / "metrics.json").read_text().count("\n") == 24


@pytest.mark.slow
def test_ctrl_c_says_how_to_continue(market_root, tmp_path):
    process = start(*overrides(market_root, tmp_path, **FOUR_EPOCHS))
    signal_in_the_third_epoch(process, tmp_path, signal.SIGINT)
    code, output = finish(process)
    assert code == 130
    assert f"continue with --resume from {tmp_path}/model_0001.pth" in output
    assert read_checkpoint(tmp_path / "model_0001.pth")["epoch"] == 1


def test_broken_images_end_with_code_2_and_their_names(market_root, tmp_path):
    root = tmp_path / "datasets"
    shutil.copytree(market_root, root)
    broken = sorted((root / "Market-1501-v15.09.15" / "bounding_box_train").iterdir())[::20]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    code, output = finish(start(*overrides(root, tmp_path / "run", DATASETS__PREFLIGHT="full")))
    assert code == 2
    assert all(f"{path} cannot be read" in output for path in broken)
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_what_to_add(market_root, tmp_path):
    code, output = finish(start(*overrides(market_root, tmp_path, MODEL__DEVICE="cuda")))
    assert code == 1
    assert "sees no GPU; add `MODEL.DEVICE cpu`" in output
