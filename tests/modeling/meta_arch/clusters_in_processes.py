"""Script of test_cluster_processes.py: steps of methods on clusters in every process of a group.

    torchrun --nproc-per-node 2 clusters_in_processes.py FOLDER

Each process leaves what :func:`steps` returns for every case in ``FOLDER/rank<r>.pth``.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine.launch import launch, wrap_for_processes
from fastreid_ext.modeling.grouped_batch_norm import group_batch_norms
from fastreid_ext.processes import process_count, process_rank

IMAGES = 8  # of all processes
GROUP = 2
STEPS = 3
COMMON = {
    "MODEL.DEVICE": "cpu",
    "UNSUPERVISED.ENABLED": True,
    "MODEL.BACKBONE.NAME": "build_normalised_convolutions",
    "MODEL.BACKBONE.FEAT_DIM": 16,
    "MODEL.HEADS.NUM_CLASSES": 6,
    "SOLVER.IMS_PER_BATCH": IMAGES,
    "DATALOADER.NUM_INSTANCE": 2,
}
CASES = {
    "ICE": COMMON
    | {
        "MODEL.META_ARCHITECTURE": "ICE",
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.HEADS.NECK_FEAT": "after",
        "MODEL.ICE.MOMENTUM": 0.5,
        "MODEL.LOSSES.NAME": ("ICELoss", "CameraProxyLoss"),
        "INPUT.VIEWS.RECIPE": "strong_weak",
        "DATALOADER.SAMPLER_TRAIN": "OnePerCameraSampler",
    },
    "PPLR": COMMON
    | {
        "MODEL.META_ARCHITECTURE": "PPLR",
        "MODEL.HEADS.NAME": "StripeHead",
        "MODEL.LOSSES.NAME": ("PPLRLoss", "CameraProxyLoss"),
        "MODEL.LOSSES.PPLR.START_EPOCH": 0,
        "MODEL.LOSSES.PPLR.NEIGHBOURS": 4,
        "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    },
    "UNRN": COMMON
    | {
        "MODEL.META_ARCHITECTURE": "UNRN",
        "MODEL.HEADS.NECK_FEAT": "after",
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.LOSSES.NAME": ("UNRNLoss",),
        "MODEL.UNRN.MEMORY": 6,
        "DATASETS.SOURCES": ("DukeMTMC",),
        "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    },
    "GLT": COMMON
    | {
        "MODEL.META_ARCHITECTURE": "GLT",
        "MODEL.HEADS.WITH_BNNECK": True,
        # fastreid's triplets are those of one process.
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
        "MODEL.GLT.CLUSTERS": [3, 4],
        "MODEL.GLT.DROPOUT": 0.0,
        "DATASETS.SOURCES": ("DukeMTMC",),
        "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    },
}
SOURCES = 2  # identities of the source, whose images are half of a batch
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, -1, 0, 1, 2])
CAMERAS = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 0, 2, 2, 0])


def build(keys: dict[str, Any], seed: int) -> nn.Module:
    """Build the model of a case, in training mode, float64 and groups of two images."""
    from fastreid.modeling import build_model  # needs fastreid_ext to be imported before
    from fastreid.modeling.backbones import BACKBONE_REGISTRY

    def build_normalised_convolutions(cfg: CfgNode) -> nn.Module:
        blocks = [
            (nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise((3, 16, 16))
        ]
        return nn.Sequential(*itertools.chain(*blocks))

    BACKBONE_REGISTRY.register(build_normalised_convolutions)
    try:
        torch.manual_seed(seed)
        cfg = load_config("", [str(part) for pair in keys.items() for part in pair])
        model = build_model(cfg)
    finally:
        del BACKBONE_REGISTRY._obj_map["build_normalised_convolutions"]
    group_batch_norms(model, GROUP)
    return model.train().double()


def batch_of_all(step: int, views: int) -> dict[str, Tensor]:
    """Make the batch of all processes: images (V, IMAGES, 3, 48, 16) and what belongs to them."""
    generator = torch.Generator().manual_seed(step)
    kept = (LABELS >= 0).nonzero().flatten()
    indices = kept[torch.randperm(len(kept), generator=generator)[:IMAGES]]
    colours = torch.rand(views, IMAGES, 3, 1, 1, generator=generator)
    images = colours + torch.rand(views, IMAGES, 3, 48, 16, generator=generator)
    return {
        "images": images.double() * 127,
        "targets": LABELS[indices],
        "camids": CAMERAS[indices],
        "indices": indices,
    }


def steps(keys: dict[str, Any]) -> dict[str, Any]:
    """Train a few steps on the share of this process.

    Returns:
        Losses and gradients of each step, state afterwards.
    """
    from fastreid.utils.events import EventStorage  # needs fastreid_ext to be imported before

    model = build(keys, seed=process_rank())
    wrapped = wrap_for_processes(model)
    spaces = (4,) if keys["MODEL.META_ARCHITECTURE"] == "PPLR" else ()
    generator = torch.Generator().manual_seed(9)
    features = F.normalize(torch.randn(len(LABELS), *spaces, 16, generator=generator), dim=-1)
    has_source = keys["MODEL.META_ARCHITECTURE"] in ("UNRN", "GLT")
    if has_source:
        _begin_sources(model)
    groups = torch.stack([torch.arange(len(LABELS)) % size for size in (3, 4)])
    known = {"cameras": CAMERAS, "epoch": 0, "groups": groups}
    facts = getattr(model, "cluster_facts", ())
    model.begin_clusters(features, LABELS, **{name: known[name] for name in facts})
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    found = {"losses": [], "gradients": []}
    size = IMAGES // process_count()
    own = slice(process_rank() * size, (process_rank() + 1) * size)
    views = 3 if keys["MODEL.META_ARCHITECTURE"] == "ICE" else 1
    for step in range(STEPS):
        torch.manual_seed(100 * process_rank() + step)  # the order is that of the first process
        every = batch_of_all(step, views)
        batch = {
            name: value[own].repeat(views) for name, value in every.items() if name != "images"
        }
        images = every["images"][:, own].flatten(0, 1)
        if has_source:
            half = IMAGES // 2
            places = torch.arange(IMAGES).reshape(2, process_count(), -1)[:, process_rank()]
            images = every["images"][0, places.flatten()]
            classes = torch.cat([torch.arange(half) % SOURCES, SOURCES + every["targets"][half:]])
            batch["targets"] = classes[places.flatten()]
            batch["indices"] = (every["indices"] + half)[places.flatten()]
        with EventStorage():
            losses = wrapped(batch | {"images": images, "views": views})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        model.end_step(True)
        found["losses"].append({name: float(loss.detach()) for name, loss in losses.items()})
        named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found["gradients"].append(_copied(named))
    return found | {"after": _copied(model.state_dict())}


def _begin_sources(model: nn.Module) -> None:
    """Set the centres of a source, and a teacher that is not the student."""
    model.num_sources = SOURCES
    model.num_images = IMAGES // 2 + len(LABELS)
    model.begin_sources(torch.eye(16)[:4], torch.tensor([0, 1, 1, 0]))
    model.steps = 10
    for part in (model.teacher_backbone, model.teacher_heads):
        for parameter in part.parameters():
            parameter.data.mul_(1.2)


def main(folder: str) -> None:
    found = {name: steps(keys) for name, keys in CASES.items()}
    torch.save(found, Path(folder) / f"rank{process_rank()}.pth")


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


if __name__ == "__main__":
    launch(main, (sys.argv[1],), device="cpu")
