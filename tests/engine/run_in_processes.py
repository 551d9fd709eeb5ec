"""Script of test_processes.py: run jobs one after the other in every process of a group.

    torchrun --nproc-per-node 2 run_in_processes.py jobs.json

A job is ``{"keys": [KEY, VALUE, ...], "resume": bool, "nan_at": iteration or -1, "shares": 1}``.
Each process leaves its weights in ``OUTPUT_DIR/rank<r>.pth``. At iteration ``nan_at`` the images of
the last process are NaN. The images of a batch are ordered by the process that would have them
among ``shares`` processes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from fastreid.utils import comm

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.setup import prepare_run


class Poisoned:
    """A loader with one batch of NaN."""

    def __init__(self, loader: object, nan_at: int, shares: int) -> None:
        self._loader = loader
        self._nan_at = nan_at
        self._shares = shares

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[dict]:
        for number, batch in enumerate(self._loader):
            if number == self._nan_at and comm.get_rank() == comm.get_world_size() - 1:
                batch["images"].fill_(float("nan"))
            yield {name: self.by_share(rows) for name, rows in batch.items()}

    def by_share(self, rows: object) -> object:
        if not isinstance(rows, torch.Tensor):
            return rows
        return torch.cat([rows[share :: self._shares] for share in range(self._shares)])


class PoisonedTrainer(Trainer):
    """The trainer with such a loader."""

    nan_at = -1
    shares = 1

    @classmethod
    def build_train_loader(cls, cfg: object) -> Poisoned:
        return Poisoned(super().build_train_loader(cfg), cls.nan_at, cls.shares)


def run_job(keys: list[str], resume: bool = False, nan_at: int = -1, shares: int = 1) -> None:
    cfg = prepare_run(load_config("", keys), resume=resume)
    PoisonedTrainer.nan_at = nan_at
    PoisonedTrainer.shares = shares
    trainer = PoisonedTrainer(cfg)
    trainer.resume_or_load(resume)
    model = getattr(trainer.model, "module", trainer.model)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.train()
    state = {"initial": initial, "model": model.state_dict(), "random": torch.get_rng_state()}
    torch.save(state, Path(cfg.OUTPUT_DIR) / f"rank{comm.get_rank()}.pth")


def main(jobs: list[dict]) -> None:
    for job in jobs:
        run_job(**job)


if __name__ == "__main__":
    launch(main, (json.loads(Path(sys.argv[1]).read_text()),), device="cpu")
