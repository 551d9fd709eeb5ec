"""A configuration and a checkpoint, made ready to be used without data sets."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from torch import nn

import fastreid_ext
from fastreid_ext.checks import check_config
from fastreid_ext.config import FROM_CHECKPOINT, load_config
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.run import load_model

Config = str | Path | CfgNode
# heads.weight, MGN's b1_head.weight, BDB's heads.part_head.weight; not CLIP's projection, which is
# backbone.head.weight.
_CLASSIFIER = re.compile(r"(^heads|_head)\.weight$")


def ready_config(
    config: Config, *, device: str | None = None, overrides: Sequence[str] = ()
) -> CfgNode:
    """Return a checked, frozen configuration; the checkpoint brings the backbone's weights.

    Args:
        config: a YAML file (a recipe, or the ``config.yaml`` of a run) or a configuration.
        device: "cpu", "cuda", "cuda:1"; None: MODEL.DEVICE.
        overrides: KEY VALUE pairs, as in ``load_config``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a mistake in the configuration.
    """
    changes = [*overrides, *FROM_CHECKPOINT, "MODEL.WEIGHTS", ""]
    changes += ["MODEL.DEVICE", device] if device else []
    if not isinstance(config, CfgNode):
        return load_config(config, changes)
    cfg = config.clone()
    cfg.defrost()
    cfg.merge_from_list(changes)
    check_config(cfg)
    cfg.freeze()
    return cfg


def ready_model(cfg: CfgNode, weights: str | Path) -> nn.Module:
    """Return the model in evaluation mode.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is damaged or of another model.
    """
    return load_model(cfg, Path(weights).expanduser()).eval().requires_grad_(False)


def description(cfg: CfgNode, config: Config, weights: str | Path) -> dict[str, str]:
    """Say in strings which model this is and what its features mean."""
    name = "" if isinstance(config, CfgNode) else Path(config).name
    return {
        "config": name,
        "architecture": f"{cfg.MODEL.META_ARCHITECTURE}, {cfg.MODEL.BACKBONE.NAME} "
        f"{cfg.MODEL.BACKBONE.DEPTH}",
        "weights": Path(weights).name,
        "classes": str(classes_of(weights)),
        "metric": cfg.TEST.METRIC,
        # Cosine similarity is the product of features that the user normalises.
        "normalised": "no; divide by the L2 norm before comparing"
        if cfg.TEST.METRIC == "cosine"
        else "no; compare by Euclidean distance",
        "flip": "averaged with the mirrored image" if cfg.TEST.FLIP.ENABLED else "no",
        "made_with": f"fastreid_ext {fastreid_ext.__version__}",
    }


def fingerprint_of(cfg: CfgNode, weights: str | Path) -> str:
    """Return 12 hexadecimal digits by which a model that sees images so is known again.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    weights = Path(weights).expanduser()
    if not weights.is_file():
        raise FileNotFoundError(f"no checkpoint at {weights}; give a file that training wrote")
    model = cfg.MODEL.clone()
    model.defrost()
    model.DEVICE = ""
    with weights.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    parts = (content, model.dump(), cfg.INPUT.dump(), str(cfg.TEST.FLIP.ENABLED))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def is_classifier(name: str) -> bool:
    """Whether a tensor of that name holds the weights of the identities, a row each."""
    return _CLASSIFIER.search(name) is not None


def classes_of(weights: str | Path) -> int:
    """Return the number of identities of the training, 0 if the checkpoint does not tell."""
    state = read_checkpoint(Path(weights).expanduser(), lazily=True)["model"]
    return max((len(value) for name, value in state.items() if is_classifier(name)), default=0)
