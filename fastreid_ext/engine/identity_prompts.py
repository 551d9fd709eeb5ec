"""Prompts and prototypes of the training identities of a run with a diffusion branch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.config import FROM_CHECKPOINT, load_config
from fastreid_ext.data.build import build_items_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.engine.checkpoint import read_checkpoint, read_training_file
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.features import extract_features
from fastreid_ext.modeling.losses import PrototypeMemory

_PROMPTS = "diffusion_branch.condition.prompts"
_PROTOTYPES = "memory.prototypes"


def identity_prompts(
    run: Path, overrides: Sequence[str] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read the learned prompts of a run, and prototypes of the same identities.

    Prototypes are those of the run's memory; for a model without one, they are computed from the
    training images: the normalised mean of an identity's normalised features.

    Args:
        run: ``OUTPUT_DIR`` of a run that ended.
        overrides: KEY VALUE pairs for the run's configuration, e.g. another ``DATASETS.ROOT``; read
            where images are needed.

    Returns:
        Prompts (N, C) and prototypes (N, D) of N identities.

    Raises:
        FileNotFoundError: the run has no final checkpoint, or its training images are missing.
        ValueError: the run has no diffusion branch, or its condition no prompts of identities.
    """
    weights = run / "model_final.pth"
    checkpoint = read_checkpoint(weights)
    prompts = read_training_file(weights, checkpoint).get("model", {}).get(_PROMPTS)
    if prompts is None:
        raise ValueError(
            f"expected a run with prompts of identities (MODEL.DIFFUSION.ENABLED True), got {run}, "
            f"whose {weights.name} was trained without a diffusion branch; choose another run"
        )
    _expect_prompts_of_identities(run, checkpoint, prompts)
    prototypes = checkpoint["model"].get(_PROTOTYPES)
    if prototypes is None:
        prototypes = _mean_features(run, weights, overrides)
    return prompts.numpy(), prototypes.numpy()


def _expect_prompts_of_identities(run: Path, checkpoint: dict[str, Any], prompts: Tensor) -> None:
    keys = checkpoint["config"]["MODEL"]
    identities = keys["HEADS"]["NUM_CLASSES"]
    condition = keys["DIFFUSION"]["CONDITION"]
    if condition == "instance" or len(prompts) != identities:
        raise ValueError(
            f"expected prompts of the {identities} training identities of {run}, got "
            f"{len(prompts)} of MODEL.DIFFUSION.CONDITION {condition}; those of correlation and "
            "class belong to identities"
        )


def _mean_features(run: Path, weights: Path, overrides: Sequence[str]) -> Tensor:
    """Compute prototypes (N, D) from the training images, as a test set is seen."""
    pairs = [*FROM_CHECKPOINT, "MODEL.WEIGHTS", "", *overrides]
    cfg = load_config(run / "config.yaml", pairs)
    items = training_items(cfg).items
    targets, _ = items.dense_pids()
    loader = build_items_loader(cfg, items, name="train")
    features = extract_features(load_model(cfg, weights), loader, num_query=0).features
    memory = PrototypeMemory(cfg.MODEL.HEADS.NUM_CLASSES, features.shape[1])
    memory.rebuild(features, torch.as_tensor(targets).long())
    return memory.prototypes
