"""Script of test_diffusion_processes.py: train with a branch in every process of a group.

    torchrun --nproc-per-node 2 diffusion_in_processes.py jobs.json

A job is ``{"keys": [KEY, VALUE, ...], "resume": bool}``. Each process leaves in
``OUTPUT_DIR/rank<r>.pth`` its weights, and its prototypes before every step: at the end of an epoch
all processes are given the buffers of the main one.
"""

import json
import sys
from pathlib import Path

import torch

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.processes import process_rank


class Recorded(Trainer):
    """Keeps the prototypes before every step."""

    def run_step(self) -> None:
        self.recorded.append(unwrapped(self).memory.prototypes.clone())
        super().run_step()


def unwrapped(trainer: Trainer) -> torch.nn.Module:
    return getattr(trainer.model, "module", trainer.model)


def run_job(keys: list[str], resume: bool = False) -> None:
    cfg = prepare_run(load_config("", keys), resume=resume)
    trainer = Recorded(cfg)
    trainer.recorded = []
    trainer.resume_or_load(resume)
    trainer.train()
    state = {
        "model": unwrapped(trainer).state_dict(),
        "prototypes": torch.stack(trainer.recorded),
    }
    torch.save(state, Path(cfg.OUTPUT_DIR) / f"rank{process_rank()}.pth")


def main(jobs: list[dict]) -> None:
    for job in jobs:
        run_job(**job)


if __name__ == "__main__":
    launch(main, (json.loads(Path(sys.argv[1]).read_text()),), device="cpu")
