"""Options and exit codes that the tools of a job share."""

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.generation.stages import command
from fastreid_ext.generation.stages.command import job_config

PAIRS = ["MODEL.WEIGHTS", "gone.pth", "SEED", "3"]


def config_on(device):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False"])
    cfg.defrost()
    cfg.MODEL.DEVICE = device  # load_config would look for it
    return cfg


@pytest.fixture
def told(monkeypatch):
    """The GPUs that torch was told, on a machine that seems to have some."""
    devices = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    return devices


def test_each_process_of_a_launcher_has_a_gpu_of_its_own(told, monkeypatch):
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "load_config", lambda *_: config_on("cuda"))
    assert job_config("", []).MODEL.DEVICE == "cuda:2"
    assert told == ["cuda:2"]


def test_without_a_launcher_it_is_the_device_of_the_configuration(told, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for device, expected in (("cuda", []), ("cuda:1", ["cuda:1"]), ("cpu", ["cuda:1"])):
        monkeypatch.setattr(command, "load_config", lambda *_, d=device: config_on(d))
        assert job_config("", []).MODEL.DEVICE == device
        assert told == expected


def test_no_weights_and_no_gpu_are_looked_for():
    cfg = job_config("", [*PAIRS, "MODEL.DEVICE", "cuda"], computes=False)
    assert (cfg.MODEL.WEIGHTS, cfg.MODEL.BACKBONE.PRETRAIN) == ("", False)
    assert (cfg.MODEL.DEVICE, cfg.SEED) == ("cpu", 3)
    assert cfg.is_frozen()
