"""Script of test_key_queue.py: one step of pre-training in every process of a group.

torchrun --nproc-per-node 2 queue_in_processes.py FOLDER

Each process leaves its queue, its keys and the gradients in ``FOLDER/rank<r>.pth``.
"""

import sys
from pathlib import Path

import torch
from fastreid.utils import comm

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine.launch import launch, wrap_for_processes

KEYS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.META_ARCHITECTURE": "ContrastivePretrain",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.HEADS.NAME": "ProjectionHead",
    "MODEL.HEADS.EMBEDDING_DIM": 8,
    "MODEL.LOSSES.NAME": ("MultiPositiveContrastiveLoss", "JSConsistencyLoss"),
    "MODEL.CONTRAST.QUEUE": 20,
    "INPUT.VIEWS.RECIPE": "dapg",
    "SOLVER.IMS_PER_BATCH": 4,
}


def main(folder: str) -> None:
    from fastreid.modeling import build_model  # needs fastreid_ext to be imported before

    rank = comm.get_rank()
    torch.manual_seed(0)
    model = build_model(load_config("", [str(part) for pair in KEYS.items() for part in pair]))
    model.train().key_heads.register_forward_hook(
        lambda module, given, made: state.update(keys=made.clone())
    )
    state = {"before": model.queue.keys.clone()}
    wrapped = wrap_for_processes(model)
    images = torch.rand(4 * 2, 3, 64, 32, generator=torch.Generator().manual_seed(rank)) * 255
    losses = wrapped({"images": images, "targets": torch.zeros(8, dtype=torch.long), "views": 4})
    sum(losses.values()).backward()
    state |= {"queue": model.queue.keys, "position": model.queue.position}
    state["gradients"] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    torch.save(state, Path(folder) / f"rank{rank}.pth")


if __name__ == "__main__":
    launch(main, (sys.argv[1],), device="cpu")
