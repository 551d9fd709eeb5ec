"""Random states, identity of a run, and the launcher's errors."""

import random

import numpy as np
import pytest
import torch

from fastreid_ext.atomic import atomic_write
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.resume import RunIdentity, capture_random_state, restore_random_state
from fastreid_ext.engine.setup import prepare_run


def random_numbers() -> tuple:
    return random.random(), np.random.rand(), np.random.normal(), torch.rand(2).tolist()  # noqa: NPY002


def test_random_state_survives_a_checkpoint(tmp_path):
    random_numbers()
    torch.save(capture_random_state(), tmp_path / "state.pth")
    expected = random_numbers(), random_numbers()
    restore_random_state(torch.load(tmp_path / "state.pth", weights_only=True))
    assert (random_numbers(), random_numbers()) == expected


def test_says_which_values_make_a_resume_inexact(caplog):
    identity = RunIdentity(
        seed=1,
        processes=2,
        images_per_batch=8,
        iterations_per_epoch=6,
        training_data="Market1501 few_shot_10",
    )
    identity.warn_about_differences({**vars(identity), "processes": 4})
    assert "not exact: the checkpoint's run had processes = 4, this one 2" in caplog.text
    assert "images_per_batch" not in caplog.text
    identity.warn_about_differences({**vars(identity), "training_data": "Market1501 few_shot_30"})
    assert "training_data = Market1501 few_shot_30, this one Market1501 few_shot_10" in caplog.text


def test_a_checkpoint_older_than_a_value_is_no_difference(make_cfg, caplog):
    identity = RunIdentity.of(make_cfg(), 6)
    before = dict(vars(identity))
    del before["training_data"]
    identity.warn_about_differences(before)
    assert "not exact" not in caplog.text


@pytest.mark.parametrize("given", [-1, 5])
def test_seed_is_kept_in_the_configuration(make_cfg, given):
    cfg = prepare_run(make_cfg(SEED=given))
    assert cfg.SEED == given if given >= 0 else cfg.SEED >= 0
    assert torch.initial_seed() == cfg.SEED


def test_more_processes_than_gpus_is_refused():
    count = torch.cuda.device_count()
    with pytest.raises(ValueError, match=rf"at most {count} processes .* --num-gpus {count + 1}"):
        launch(print, (), device="cuda", processes=count + 1)


def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match="--num-machines > 1 needs --dist-url"):
        launch(print, (), device="cpu", machines=2)


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("whole")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def write_and_fail(path) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        _ = 1 / 0
