"""Parameters of a model by part, from its configuration alone: no files, no memory, no data.

The model is built on torch's device "meta", whose tensors have a shape and no values.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.config import FROM_CHECKPOINT, load_config
from fastreid_ext.config.load import merged_config
from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.engine.saved_weights import TRAINING_MARK
from fastreid_ext.engine.trainer import Trainer

_IDENTITIES = 751  # of Market-1501's training set
_USUAL_SIZE = (256, 128)  # height, width in pixels, where INPUT.SIZE_TEST keeps native sizes


@dataclasses.dataclass(frozen=True)
class ParameterCount:
    """Number of parameters of a part of a model.

    Attributes:
        trained: number of parameters that the optimizer changes.
        frozen: number of parameters that stay as they are.
    """

    trained: int = 0
    frozen: int = 0

    @property
    def total(self) -> int:
        """Add trained and frozen parameters."""
        return self.trained + self.frozen

    def __add__(self, other: "ParameterCount") -> "ParameterCount":
        return ParameterCount(self.trained + other.trained, self.frozen + other.frozen)


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """Parameters of a model.

    Attributes:
        parts: counts by name of the part, in the order of the model.
        kept: count of the parameters that the features of an image depend on. Classifiers,
            momentum encoders and parts that are only for training are not among them.
    """

    parts: dict[str, ParameterCount]
    kept: ParameterCount

    @property
    def whole(self) -> ParameterCount:
        """Add the counts of all parts."""
        return sum(self.parts.values(), ParameterCount())


def summarise(cfg: CfgNode) -> ModelSummary:
    """Count the parameters of the model that training builds from a configuration.

    Args:
        cfg: checked configuration for the device "meta", from :func:`configuration_on_meta`.

    Example:
        >>> cfg = configuration_on_meta("", ["MODEL.BACKBONE.FEAT_DIM", "0"], identities=10)
        >>> summary = summarise(cfg)
        >>> summary.parts["heads"]
        ParameterCount(trained=20480, frozen=0)
        >>> summary.whole.total - summary.kept.total  # the classifier
        20480
    """
    with torch.device("meta"):
        model = Trainer.build_model(cfg)
        used = _read_by_features(model, cfg.INPUT.SIZE_TEST)
    return ModelSummary(count_by_part(model), _count(used))


def configuration_on_meta(
    config_file: str | Path, overrides: Sequence[str] = (), *, identities: int | None = None
) -> CfgNode:
    """Load a configuration for a model without values: no weight file of it is asked for.

    Args:
        config_file: path of a local YAML file; "" for the defaults alone.
        overrides: keys and values in turn, applied after the file.
        identities: number of training identities, for the classifier; None = that of the
            configuration, or Market-1501's 751 where it leaves the number to the data.

    Raises:
        FileNotFoundError, ValueError: as ``load_config``.
    """
    asked = merged_config(config_file, overrides).MODEL
    identities = identities or asked.HEADS.NUM_CLASSES or _IDENTITIES
    pairs = ["MODEL.DEVICE", "meta", "MODEL.WEIGHTS", "", "SOLVER.AMP.ENABLED", "False"]
    pairs += [*FROM_CHECKPOINT, "MODEL.HEADS.NUM_CLASSES", str(identities)]
    if asked.DIFFUSION.ENABLED:
        pairs += ["MODEL.DIFFUSION.RANDOM_WEIGHTS", "True"]
    return load_config(config_file, [*overrides, *pairs])


def count_by_part(model: nn.Module) -> dict[str, ParameterCount]:
    """Count the parameters of each child of a model; one only for training is split again."""
    counts: dict[str, ParameterCount] = {}
    for name, parameter in model.named_parameters():
        child, *inside = name.split(".")
        is_split = getattr(getattr(model, child), TRAINING_MARK, False)
        part = ".".join([child, *inside[:1]]) if is_split else child
        counts[part] = counts.get(part, ParameterCount()) + _count([parameter])
    return counts


def _count(parameters: Iterable[nn.Parameter]) -> ParameterCount:
    sizes = {True: 0, False: 0}
    for parameter in parameters:
        sizes[parameter.requires_grad] += parameter.numel()
    return ParameterCount(trained=sizes[True], frozen=sizes[False])


def _read_by_features(model: nn.Module, size: Sequence[int]) -> list[nn.Parameter]:
    """Find the parameters that have a gradient of the features, whatever the architecture.

    :func:`fastreid_ext.engine.read_tensors.read_by_features` does it with values.
    """
    parameters = list(model.parameters())
    is_trained = [parameter.requires_grad for parameter in parameters]
    height, width = size if min(size) > 0 else _USUAL_SIZE
    with modes_kept(model):
        model.eval().requires_grad_(True)
        features = model({"images": torch.zeros(1, 3, height, width)})
        gradients = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    for parameter, trained in zip(parameters, is_trained, strict=True):
        parameter.requires_grad_(trained)
    return [
        parameter
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    ]
