"""Errors of torch that reach a user in the words of images and keys."""

import os
import signal

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.data.loaders import PersonLoader
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.engine.step_errors import explained, number_of_classes

from .tiny import batches, started


def step_on(cfg, batch):
    torch.manual_seed(0)
    model = build_model(cfg)
    return TrainingStep(
        model, [batch], *build_optimizer(cfg, model), autocast_dtype=None, max_skipped=0
    )


def test_one_image_under_batch_normalisation_names_the_key(make_cfg):
    (batch,) = batches(1)
    alone = {name: values[:1] for name, values in batch.items()}
    step = step_on(make_cfg(MODEL__HEADS__NUM_CLASSES=8), alone)
    words = r"at least 2 images on each process.*got 1; raise SOLVER\.IMS_PER_BATCH"
    with EventStorage(), pytest.raises(ValueError, match=words):
        started(step)()


BDB = {
    "MODEL__META_ARCHITECTURE": "BDB",
    "MODEL__HEADS__NAME": "BDBHead",
    "MODEL__HEADS__WITH_BNNECK": False,
}


@pytest.mark.parametrize("keys", [{}, {"MODEL__HEADS__CLS_LAYER": "CircleSoftmax"}, BDB])
def test_labels_beyond_the_classifier_name_image_and_key(make_cfg, keys):
    (batch,) = batches(1)  # labels 0 to 3
    step = step_on(make_cfg(MODEL__HEADS__NUM_CLASSES=3, **keys), batch)
    words = (
        r"expected labels below 3.*\(MODEL\.HEADS\.NUM_CLASSES\), got 3 of 6\.jpg, 3 of 7\.jpg; "
        r"set MODEL\.HEADS\.NUM_CLASSES 0"
    )
    with EventStorage(), pytest.raises(ValueError, match=words):
        started(step)()


def test_an_assertion_on_the_gpu_says_what_is_likely():
    """The words are torch's; the GPU cannot be asked any more, so no image is named."""
    words = r"out of bounds.*MODEL\.HEADS\.NUM_CLASSES.*MODEL\.DEVICE cpu"
    with pytest.raises(ValueError, match=words), explained(nn.Identity(), {}):
        raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might")


@pytest.mark.parametrize("error", [RuntimeError("shapes"), IndexError("index 9 out of bounds")])
def test_other_errors_stay_as_they_are(error):
    batch = {"targets": torch.tensor([0, 1]), "img_paths": ["a", "b"]}
    model = nn.Module()
    model.heads = nn.Linear(4, 2)
    with pytest.raises(type(error)) as seen, explained(model, batch):
        raise error
    assert seen.value is error


def test_classes_are_those_of_a_head_not_of_the_backbone():
    model = nn.Module()
    model.backbone = nn.Linear(5, 7)
    assert number_of_classes(model) is None
    model.b1_head = nn.Linear(4, 2)
    assert number_of_classes(model) == 2


class _DiesOfMemory(torch.utils.data.Dataset):
    """As a worker that the system kills because memory is short."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_says_what_to_lower():
    loader = PersonLoader(
        _DiesOfMemory(), range(4), batch_size=2, drop_last=True, num_workers=1, device="cpu"
    )
    words = r"died.*(killed by signal|exited unexpectedly).*memory.*DATALOADER\.NUM_WORKERS"
    with pytest.raises(ChildProcessError, match=words):
        next(iter(loader))
