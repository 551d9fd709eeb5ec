"""Tiny runs for the tests of the engine: a tiny Market-1501 tree, and random batches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from fastreid.config import CfgNode

from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.engine.step import TrainingStep

from ..tiny_cfg import dotted, key_value_pairs, read_keys

# 48 images in batches of 8 (4 identities x 2): 6 iterations an epoch.
TINY = {
    "SEED": 7,
    "MODEL.DEVICE": "cpu",
    # 0.14 M parameters: 0.1 s a step, 2 MB a checkpoint.
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "INPUT.FLIP.ENABLED": True,
    "INPUT.REA.ENABLED": True,
    "DATASETS.NAMES": ("Market1501",),
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
    "DATALOADER.NUM_INSTANCE": 2,
    "DATALOADER.NUM_WORKERS": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_ITERS": 4,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.LOG_PERIOD": 2,
    "TEST.EVAL_PERIOD": 0,
    "TEST.IMS_PER_BATCH": 8,
    "TEST.NUM_WORKERS": 0,
}


def overrides(root: Path, output: Path, **changes: object) -> list[str]:
    """Return KEY VALUE pairs of the tiny run; ``changes`` are named like SOLVER__MAX_EPOCH."""
    places = {"DATASETS.ROOT": str(root), "OUTPUT_DIR": str(output)}
    return key_value_pairs(read_keys(TINY | places, dotted(changes)))


def batches(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "images": torch.rand((8, 3, 64, 32), generator=generator) * 255,
            "targets": torch.arange(8) // 2,
            "camids": torch.zeros(8, dtype=torch.long),
            "img_paths": [f"{index}.jpg" for index in range(8)],
        }
        for _ in range(count)
    ]


def started(step: TrainingStep) -> Callable[[], bool]:
    """Start a step and return a function that runs it."""
    step.start()
    return lambda: step.run(0)


def run(
    kind: type[Trainer], cfg: CfgNode, *, resume: bool = False, stop_at: int | None = None
) -> Trainer:
    """Train with a trainer of a test's own; end as Ctrl-C does before iteration ``stop_at``."""

    class Stopped(kind):
        def run_step(self) -> None:
            if self.iter == stop_at:
                raise KeyboardInterrupt
            super().run_step()

    trainer = Stopped(prepare_run(cfg, resume=resume))
    trainer.resume_or_load(resume)
    try:
        trainer.train()
    except KeyboardInterrupt:
        assert stop_at is not None
    return trainer


def assert_equal_checkpoints(one: Path | str, other: Path | str) -> None:
    """Hold the last checkpoints of two runs equal, all states included, bit by bit."""
    ours = read_checkpoint(Path(one) / "model_final.pth")
    theirs = read_checkpoint(Path(other) / "model_final.pth")
    for checkpoint in (ours, theirs):
        checkpoint.pop("config", None)  # names the folder of the run
    assert list(differences(ours, theirs)) == []


def differences(one: object, other: object, name: str = "") -> Iterator[str]:
    """Yield the places in which two nested states differ."""
    if isinstance(one, torch.Tensor):
        if not (isinstance(other, torch.Tensor) and torch.equal(one, other)):
            yield name
    elif isinstance(one, dict):
        if not (isinstance(other, dict) and one.keys() == other.keys()):
            yield name
        else:
            for key in one:
                yield from differences(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield name
        for index, (mine, yours) in enumerate(zip(one, other, strict=False)):
            yield from differences(mine, yours, f"{name}.{index}")
    elif one != other:
        yield name
