"""Prototypes at the start of every epoch, held against an extraction of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.engine.hooks import HookBase
from PIL import Image
from torch import Tensor, nn

from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.modes import modes_kept

from .tiny import run

PROTOTYPES = {
    "MODEL__META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL__HEADS__NECK_FEAT": "after",
    "INPUT__SIZE_TEST": [48, 24],  # test images differ from training images also in size
    "DATALOADER__NUM_WORKERS": 0,
}
SIZE = (24, 48)  # width and height, as Pillow has them


class Watched(Trainer):
    """Compares the prototypes with its own at the first step of every epoch."""

    labels: np.ndarray | None = None  # of the second epoch
    epochs: list[int]  # that were compared

    def build_method_hooks(self) -> list[HookBase]:
        return [*super().build_method_hooks(), Relabelling(self.labels)]

    def run_step(self) -> None:
        if self.iter % self.iters_per_epoch == 0:
            dataset = self.data_loader.dataset
            expected = prototypes_by_loops(self.model, dataset.img_items, dataset.targets)
            found = self.model.memory.prototypes
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
            assert self.model.training
            assert self.model.heads.bottleneck[0].training
            self.epochs.append(self.epoch)
        super().run_step()


class Relabelling(HookBase):
    """Gives the images other labels after the first epoch."""

    def __init__(self, labels: np.ndarray | None) -> None:
        self._labels = labels

    def after_epoch(self) -> None:
        if self._labels is not None and self.trainer.epoch == 0:
            self.trainer.relabel(self._labels)


@torch.no_grad()
def prototypes_by_loops(model: nn.Module, items: list, targets: list) -> Tensor:
    """Extract all images, read and scaled by Pillow, in one batch, and average by identity."""
    pixels = []
    for item in items:
        image = Image.open(item[0]).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
        pixels.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float())
    with modes_kept(model):
        features = model.eval()(torch.stack(pixels))
    rows: dict[int, list[Tensor]] = {}
    for feature, target in zip(features, targets, strict=True):
        if target >= 0:
            rows.setdefault(int(target), []).append(feature / feature.norm())
    means = [torch.stack(rows[identity]).mean(dim=0) for identity in sorted(rows)]
    return torch.stack([mean / mean.norm() for mean in means])


@pytest.fixture
def watched():
    """Return a trainer class of this test's own."""
    return type("WatchedHere", (Watched,), {"epochs": []})


def test_prototypes_are_rebuilt_before_every_epoch_as_test_images_are_seen(make_cfg, watched):
    cfg = make_cfg(**PROTOTYPES)
    trainer = run(watched, cfg)
    assert watched.epochs == [0, 1]
    # Since then the batches of the last epoch have moved them, and the checkpoint holds that.
    dataset = trainer.data_loader.dataset
    rebuilt = prototypes_by_loops(trainer.model, dataset.img_items, dataset.targets)
    prototypes = trainer.model.memory.prototypes
    assert (prototypes - rebuilt).abs().max() > 0.01
    saved = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]
    assert torch.equal(saved["memory.prototypes"], prototypes)


@pytest.mark.slow
def test_run_with_prototypes_resumes_exactly(make_cfg):
    whole = run(Trainer, make_cfg("whole", **PROTOTYPES))
    run(Trainer, make_cfg("stopped", **PROTOTYPES), stop_at=9)
    resumed = run(Trainer, make_cfg("stopped", **PROTOTYPES), resume=True)
    theirs = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.slow
def test_images_without_a_label_do_not_count(make_cfg, watched):
    """48 images of 8 identities; the last of each is left out, and two identities change places."""
    labels = np.arange(48) // 6
    labels[(labels == 0) | (labels == 1)] = 1 - labels[(labels == 0) | (labels == 1)]
    labels[5::6] = -1
    watched.labels = labels
    run(watched, make_cfg(**PROTOTYPES))
    assert watched.epochs == [0, 1]


@pytest.mark.slow
def test_identity_whose_images_are_all_left_out_is_refused(make_cfg, watched):
    labels = np.arange(48) // 6
    labels[labels == 3] = -1
    watched.labels = labels
    expected = r"all 8 identities, got none of 1 of them \(the first is class 3\)"
    with pytest.raises(ValueError, match=expected):
        run(watched, make_cfg(**PROTOTYPES))


def test_batches_of_one_identity_are_refused(make_cfg):
    """The classifier would learn nothing from them; the rule is that of the triplet loss."""
    keys = PROTOTYPES | {"SOLVER__IMS_PER_BATCH": 2}
    with pytest.raises(
        ValueError, match=r"PrototypeContrastLoss, which compares identities in the"
    ):
        run(Trainer, make_cfg(**keys))
