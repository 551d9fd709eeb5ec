"""Two gloo processes train the pose-guided generator as one does with the same rows.

Each has half of the rows of a step, and gradients are averaged. Sums of floats are ordered
differently, so losses are equal up to rounding, and weights compared with the way they have gone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.generation.pose_guided.trained_generator import TrainedGenerator
from tests.two_processes import REPOSITORY, run_in_two_processes

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("train_in_processes.py")
STEPS = 5


@pytest.fixture
def outputs(guided_cfg, tmp_path):
    """Give the folders of a training in one process and of one in two."""
    changes = {"ITERATIONS": STEPS, "DROP_CONDITION": 0.3, "CHECKPOINT_PERIOD": 100}
    files = {}
    for name in ("one", "two"):
        files[name] = tmp_path / f"{name}.yml"
        files[name].write_text(guided_cfg(name, **changes).dump())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [sys.executable, str(SCRIPT), str(files["one"])], env=environment, check=True, timeout=300
    )
    run_in_two_processes(SCRIPT, files["two"], timeout=300)
    return tmp_path / "one", tmp_path / "two"


def losses_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def flat(state):
    return torch.cat([value.double().flatten() for value in state.values()])


def starting_state(folder):
    return TrainedGenerator(PoseGuidedPipeline.from_pretrained(folder)).state_dict()


def test_two_processes_train_the_generator_of_one(outputs, start_folder):
    alone = losses_of(outputs[0])
    together = losses_of(outputs[1])
    assert len(alone) == STEPS
    assert len({round(loss, 3) for loss in alone}) > 1
    assert together == pytest.approx(alone, rel=1e-5)
    states = [
        torch.load(folder / "training_state.pth", weights_only=True)["model"] for folder in outputs
    ]
    assert states[0].keys() == states[1].keys()
    start = starting_state(start_folder)
    way = (flat(states[0]) - flat(start)).norm()
    assert way > 0.01
    assert (flat(states[1]) - flat(states[0])).norm() < 0.01 * way
