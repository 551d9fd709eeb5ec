"""Pickling of datasets and transforms for workers that are not forked."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.transforms import build_transforms

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CPU = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
RECIPES = [
    "Base-bagtricks.yml",
    "../projects/CIL/configs/Base-AGW-CIL.yml",
    "../projects/SimCLR/configs/Base-SimCLR.yml",
    "../projects/DAPG/configs/Base-DAPG-stage1.yml",
    "../projects/BDB/configs/Base-BDB.yml",
    "../projects/DiffusionReID/configs/Base-classification-pretrain.yml",
]


class ToSpawned(pickle.Pickler):
    """Pickle as for a spawned process, in which the state of a generator would be broken."""

    def reducer_override(self, value: object) -> object:
        assert not isinstance(value, torch.Generator)
        return NotImplemented


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("is_train", [True, False])
def test_transforms_can_be_pickled(recipe, is_train):
    transform = build_transforms(load_config(CONFIGS / recipe, CPU), is_train=is_train)
    file = io.BytesIO()
    ToSpawned(file).dump(transform)
    assert type(pickle.loads(file.getvalue())) is type(transform)


@pytest.fixture
def forkserver() -> Iterator[None]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("forkserver")
def test_batches_do_not_depend_on_the_start_method(make_cfg):
    """Default of Python 3.14; the whole run in tests/engine/test_training.py spawns."""
    slow = ("CJ", "AUGMIX", "AUTOAUG")  # without them the whole transform is one fast pass
    keys = {f"INPUT__{name}__ENABLED": False for name in slow}
    ours = next(iter(build_train_loader(make_cfg(**keys, DATALOADER__NUM_WORKERS=1))))
    theirs = next(iter(build_train_loader(make_cfg(**keys, DATALOADER__NUM_WORKERS=0))))
    assert torch.equal(ours["images"], theirs["images"])
    assert ours["img_paths"] == theirs["img_paths"]
