"""Script of test_pretrain_processes.py: steps of pre-training in every process of a group.

    torchrun --nproc-per-node 2 pretrain_in_processes.py FOLDER

Each process leaves what :func:`steps` returns for every case in ``FOLDER/rank<r>.pth``.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine.launch import launch, wrap_for_processes
from fastreid_ext.processes import process_count, process_rank

IMAGES = 6  # of all processes
STEPS = 3
COMMON = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_normalised_convolutions",
    "MODEL.BACKBONE.FEAT_DIM": 32,
    "MODEL.HEADS.NAME": "ProjectionHead",
    "MODEL.HEADS.EMBEDDING_DIM": 8,
    "SOLVER.IMS_PER_BATCH": IMAGES,
}
DAPG = COMMON | {
    "MODEL.META_ARCHITECTURE": "ContrastivePretrain",
    "MODEL.LOSSES.NAME": ("MultiPositiveContrastiveLoss", "JSConsistencyLoss"),
    "MODEL.MOCO.MOMENTUM": 0.5,
    "MODEL.LOSSES.MULTI_POSITIVE.TEMPERATURE": 0.1,
    "INPUT.VIEWS.RECIPE": "dapg",
}
SIMCLR = COMMON | {
    "MODEL.META_ARCHITECTURE": "SimCLRPretrain",
    "MODEL.LOSSES.NAME": ("NTXentLoss",),
    "MODEL.LOSSES.NT_XENT.TEMPERATURE": 0.2,
    "INPUT.VIEWS.RECIPE": "independent",
    "INPUT.VIEWS.COUNT": 2,
}
STAGE_2 = DAPG | {
    "MODEL.LOSSES.NAME": ("MultiPositiveContrastiveLoss",),
    "INPUT.VIEWS.RECIPE": "pose",
    "DATASETS.POSITIVES.ROOTS": ["generated"],
}
# The queue is filled and begins again within the steps.
QUEUE = {"MODEL.MOCO.QUEUE": 40}
SYNC = {"MODEL.BACKBONE.NORM": "syncBN"}
GROUP = {"MODEL.BACKBONE.NORM": "GN"}
LOCAL = {"MODEL.BACKBONE.NORM": "BN"}
CASES = {
    "DAPG in batch, syncBN": DAPG | SYNC,
    "DAPG in batch, GN": DAPG | GROUP,
    "DAPG queue, syncBN": DAPG | QUEUE | SYNC,
    "stage 2 in batch, syncBN": STAGE_2 | SYNC,
    "SimCLR, syncBN": SIMCLR | SYNC,
    "SimCLR, GN": SIMCLR | GROUP,
    "DAPG queue, BN": DAPG | QUEUE | LOCAL,
}


def build(keys: dict[str, Any], seed: int) -> nn.Module:
    """Build the model of a case, in training mode and float64: its sums depend on no order."""
    from fastreid.layers import get_norm  # needs fastreid_ext to be imported before
    from fastreid.modeling import build_model
    from fastreid.modeling.backbones import BACKBONE_REGISTRY

    def build_normalised_convolutions(cfg: CfgNode) -> nn.Module:
        blocks = [
            (nn.Conv2d(a, b, 3, 2, 1), get_norm(cfg.MODEL.BACKBONE.NORM, b), nn.ReLU())
            for a, b in itertools.pairwise((3, 32, 32, 32))
        ]
        return nn.Sequential(*itertools.chain(*blocks))

    BACKBONE_REGISTRY.register(build_normalised_convolutions)
    try:
        torch.manual_seed(seed)
        cfg = load_config("", [str(part) for pair in keys.items() for part in pair])
        return build_model(cfg).train().double()
    finally:
        del BACKBONE_REGISTRY._obj_map["build_normalised_convolutions"]


def views(keys: dict[str, Any], step: int) -> Tensor:
    """Return (V, IMAGES, 3, 64, 32) float64, the batch of all processes."""
    count = 4 if keys["INPUT.VIEWS.RECIPE"] == "dapg" else 2
    generator = torch.Generator().manual_seed(step)
    colours = torch.rand(count, IMAGES, 3, 1, 1, generator=generator)
    return (colours + torch.rand(count, IMAGES, 3, 64, 32, generator=generator)).double() * 127


def steps(keys: dict[str, Any]) -> dict[str, Any]:
    """Train a few steps on the share of this process.

    Returns:
        State before, losses and gradients of each step, state afterwards.
    """
    model = build(keys, seed=process_rank())
    wrapped = wrap_for_processes(model)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.5)
    found = {"before": _copied(model.state_dict()), "losses": [], "gradients": []}
    size = IMAGES // process_count()
    for step in range(STEPS):
        every = views(keys, step)
        own = every[:, process_rank() * size :][:, :size]
        batch = {"images": own.flatten(0, 1), "targets": torch.zeros(len(every) * size).long()}
        losses = wrapped(batch | {"views": len(every)})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found["losses"].append({name: float(loss.detach()) for name, loss in losses.items()})
        named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found["gradients"].append(_copied(named))
    return found | {"after": _copied(model.state_dict())}


def main(folder: str) -> None:
    found = {name: steps(keys) for name, keys in CASES.items()}
    torch.save(found, Path(folder) / f"rank{process_rank()}.pth")


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


if __name__ == "__main__":
    launch(main, (sys.argv[1],), device="cpu")
