"""Two gloo processes pre-train as one with the same batch; one alone: test_contrastive_pretrain."""

import copy
from pathlib import Path

import pytest
import torch

from ...two_processes import run_in_two_processes
from .pretrain_in_processes import CASES, IMAGES, STEPS, build, steps, views

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("pretrain_in_processes.py")
EQUAL = [name for name in CASES if not name.endswith(", BN")]

CLOSE = {"rtol": 1e-5, "atol": 1e-9}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """Give the results of each of two processes."""
    folder = tmp_path_factory.mktemp("pretrain")
    run_in_two_processes(SCRIPT, folder, timeout=180)
    return [torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_train_as_one(found, name):
    alone = steps(CASES[name])
    parts = [part[name] for part in found]
    for step in range(STEPS):
        for loss, value in alone["losses"][step].items():
            mean = sum(part["losses"][step][loss] for part in parts) / 2
            assert value > 1e-6
            assert mean == pytest.approx(value, rel=1e-6)
        for part in parts:
            torch.testing.assert_close(part["gradients"][step], alone["gradients"][step], **CLOSE)
    assert max(float(g.abs().max()) for g in alone["gradients"][0].values()) > 1e-3
    for part in parts:
        torch.testing.assert_close(part["after"], alone["after"], **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_start_and_end_equal(found, name):
    """Their seeds differ, and so do the random keys that a queue starts with."""
    first = found[0][name]
    second = found[1][name]
    for state in ("before", "gradients"):
        torch.testing.assert_close(first[state], second[state], rtol=0, atol=0)
    assert any(key.endswith("running_mean") for key in first["after"]) == ("BN" in name)
    for key, value in first["after"].items():
        if "running_" not in key or "syncBN" in name:
            torch.testing.assert_close(second["after"][key], value, rtol=0, atol=0, msg=key)


def test_two_processes_shuffle_batches_of_the_key_encoder(found):
    """With batch normalisation of each process; by a loop, and the queue in the images' order."""
    name = "DAPG queue, BN"
    model = build(CASES[name], seed=0)
    images = model.preprocess_image({"images": views(CASES[name], 0).flatten(0, 1)})
    images = images.unflatten(0, (4, IMAGES))
    keys = torch.empty(3, IMAGES, 8, dtype=torch.float64)
    with torch.no_grad():
        for rank in (0, 1):
            twin = copy.deepcopy(model)
            seen = images[1:, rank::2]
            made = twin.key_heads(twin.key_backbone(seen.flatten(0, 1)))
            keys[:, rank::2] = made.unflatten(0, (3, IMAGES // 2))
    # The keys of the first step, which the third step, 54 keys on, has not yet reached.
    kept = found[0][name]["after"]["queue.keys"][14:18]
    torch.testing.assert_close(kept, keys.flatten(0, 1)[14:18], **CLOSE)
    assert int(found[0][name]["after"]["queue.position"]) == 3 * IMAGES * STEPS % 40
