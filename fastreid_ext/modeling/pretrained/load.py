"""Load pre-trained weights into a backbone, or refuse the file with reasons."""

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.families import AUTO, family_of
from fastreid_ext.modeling.pretrained.family import Family
from fastreid_ext.modeling.pretrained.files import WeightFile, read_weights
from fastreid_ext.modeling.pretrained.matching import Matching, first_names, match
from fastreid_ext.modeling.pretrained.normalisation import Normalisation, normalisation_problem
from fastreid_ext.modeling.pretrained.positions import fit_positions
from fastreid_ext.modeling.pretrained.report import LoadReport

logger = logging.getLogger(__name__)


def load_pretrained(
    backbone: nn.Module,
    path: str | Path,
    *,
    family: str = AUTO,
    min_matched: float = 0.9,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
) -> LoadReport:
    """Load a weight file of any family into a backbone, and log a report.

    Example::

        backbone = SwinBackbone(SIZES["tiny"])
        pixels = {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
        print(load_pretrained(backbone, "swin_tiny_patch4_window7_224.pth", **pixels))

    Args:
        backbone: network to load into, unchanged if the file does not fit.
        path: weight file, folder with the layout of the hubs, or ``hf-hub:owner/name``.
        family: name of the file's family, or "" to recognise it.
        min_matched: share in [0, 1] of the backbone's tensors that the file must hold, and of the
            file's tensors, except those left out on purpose, that the backbone must have.
        pixel_mean: configured ``MODEL.PIXEL_MEAN`` in units of 0 to 255, compared with the weights'
            own.
        pixel_std: configured ``MODEL.PIXEL_STD`` in units of 0 to 255.

    Raises:
        FileNotFoundError: the file does not exist, or the folder holds no weights.
        ValueError: the file is damaged, does not fit this backbone, or holds NaN.
    """
    file = read_weights(path)
    plan = plan_load(backbone, file, family=family, min_matched=min_matched)
    backbone.load_state_dict(plan.fitting, strict=False)
    problem = normalisation_problem(plan.normalisations, pixel_mean, pixel_std)
    report = plan.report.with_warning(problem)
    logger.info("Pre-trained weights from %s", report)
    for warning in report.warnings:
        logger.warning("%s: %s", file.path, warning)
    return report


@dataclasses.dataclass(frozen=True)
class LoadPlan:
    """Tensors of a file that fit a backbone, before they are loaded.

    Attributes:
        report: report without warnings about the configured normalisation.
        fitting: tensors to load, in the backbone's names and shapes.
        stored: tensors in the backbone's names, with the file's image and window size.
        normalisations: normalisations such weights are trained with, the usual one first.
    """

    report: LoadReport
    fitting: dict[str, Tensor]
    stored: dict[str, Tensor]
    normalisations: tuple[Normalisation, ...]


def plan_load(
    backbone: nn.Module, file: WeightFile, *, family: str = AUTO, min_matched: float = 0.9
) -> LoadPlan:
    """Find the tensors of a file that fit a backbone, without changing the backbone.

    Arguments and errors are those of :func:`load_pretrained`.
    """
    try:
        chosen = family_of(file.tensors, wanted=family, written_as=file.declared.family)
        renamed = chosen.renamed(file.tensors, backbone)
        spread = getattr(backbone, "with_both_stems", dict)
        renamed = dataclasses.replace(renamed, tensors=spread(renamed.tensors))
        tensors, resized = fit_positions(renamed.tensors, backbone, file.declared.image_size)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from error
    matching = match(backbone.state_dict(), tensors, optional=chosen.optional)
    _refuse_misfit(file.path, backbone, chosen, matching, min_matched)
    fitting = {name: tensors[name] for name in matching.matched}
    _refuse_non_finite(file.path, fitting)
    normalisations = _normalisations(chosen, backbone, file)
    activation = file.declared.activation or ("quick_gelu" if file.is_torchscript else None)
    report = LoadReport(
        path=file.path,
        family=chosen.name,
        title=chosen.title,
        matching=matching,
        resized=[*renamed.resized, *resized],
        dropped=renamed.dropped,
        notes=[*_wrapper_note(file), *renamed.notes],
        warnings=renamed.warnings,
        normalisation=normalisations[0] if len(normalisations) == 1 else None,
        activation=activation if chosen.name == "clip" else None,
    )
    stored = {name: renamed.tensors[name] for name in matching.matched}
    if chosen.name == "clip":
        report = report.with_warning(_activation_problem(backbone, activation))
    return LoadPlan(report, fitting, stored, normalisations)


def _normalisations(
    family: Family, backbone: nn.Module, file: WeightFile
) -> tuple[Normalisation, ...]:
    """Look in the file and its folder, then in timm's settings, then ask the family."""
    if file.declared.normalisation is not None:
        return (file.declared.normalisation,)
    config = getattr(backbone, "pretrained_cfg", None) or {}
    if family.name in ("same", "vit") and "mean" in config:
        return (Normalisation(tuple(config["mean"]), tuple(config["std"]), "timm's"),)
    return family.normalisations(file.tensors)


def _wrapper_note(file: WeightFile) -> list[str]:
    if not file.wrapper:
        return []
    beside = f", not from {', '.join(file.others[:6])}" if file.others else ""
    return [f"read from its key {file.wrapper}{beside}"]


def _refuse_misfit(
    path: Path, backbone: nn.Module, family: Family, matching: Matching, min_matched: float
) -> None:
    """Refuse a file that holds too few of the backbone's tensors, or too many others.

    The latter is a file of a deeper network, whose first blocks would fit.
    """
    if matching.share < min_matched or not matching.matched:
        raise ValueError(
            f"{path} does not fit the backbone ({type(backbone).__name__}): it looks like "
            f"{family.title}; expected at least {min_matched:.0%} of the backbone's tensors in it, "
            f"got {matching.share:.0%}: {matching}; nothing was loaded. Check MODEL.BACKBONE.NAME, "
            "DEPTH and PRETRAIN_FAMILY, choose another file, or lower "
            "MODEL.BACKBONE.MIN_PRETRAIN_MATCHED if only a part should be loaded"
        )
    unused = [
        name
        for name in matching.unexpected
        if not any(re.search(pattern, name) for pattern in family.optional)
    ]
    used = len(matching.matched) / (len(matching.matched) + len(unused))
    if used < min_matched:
        raise ValueError(
            f"{path} holds more than the backbone ({type(backbone).__name__}): it looks like "
            f"{family.title}; expected a use for at least {min_matched:.0%} of its tensors, got "
            f"{used:.0%}: {len(unused)} are unused{first_names(unused)}; nothing was loaded. "
            "Is it of a deeper network? Check MODEL.BACKBONE.DEPTH, or lower "
            "MODEL.BACKBONE.MIN_PRETRAIN_MATCHED"
        )


def _refuse_non_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    bad = sorted(
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    )
    if bad:
        raise ValueError(
            f"{len(bad)} tensors in {path} hold NaN or infinite values{first_names(bad)}; the "
            "training that wrote it diverged, or the file is damaged: choose another checkpoint"
        )


def _activation_problem(backbone: nn.Module, activation: str | None) -> str:
    """Warn if the MLPs of a CLIP tower compute another activation than the weights need."""
    modules = [module for name, module in backbone.named_modules() if name.endswith("mlp.act")]
    if not modules or "norm_pre.weight" not in backbone.state_dict():
        return ""  # a plain ViT, with its own activation
    is_quick = "quick" in type(modules[0]).__name__.lower()
    ours = "quick_gelu" if is_quick else "gelu"
    if activation == ours:
        return ""
    switch = f"add to the command: MODEL.BACKBONE.QUICK_GELU {not is_quick}"
    from fastreid_ext.modeling.backbones.vit import ViTBackbone

    if not isinstance(backbone, ViTBackbone):  # a model of timm, which has both kinds
        preposition = "without" if is_quick else "with"
        switch = f"take timm's model {preposition} quickgelu in its name"
    if activation in ("gelu", "quick_gelu"):
        return (
            f"these weights were trained with {activation}, the backbone computes {ours}; {switch}"
        )
    other = "GELU, as most of open_clip's" if is_quick else "quick GELU, as OpenAI's"
    return (
        f"the backbone computes {ours}; the file does not say what its weights were trained with. "
        f"If it was {other}, {switch}"
    )
