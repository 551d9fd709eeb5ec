"""Hooks that a method brings along: its architecture's, clusters, prototypes, averaged weights."""

from fastreid.config import CfgNode
from fastreid.engine.hooks import HookBase
from torch import nn

from fastreid_ext.engine.averaging import AveragedWeights
from fastreid_ext.engine.curriculum_labels import CurriculumLabels
from fastreid_ext.engine.domain_labels import DomainPseudoLabels
from fastreid_ext.engine.group_labels import GroupLabels
from fastreid_ext.engine.meta_step import GatesInRange
from fastreid_ext.engine.prototypes import PrototypeRebuild
from fastreid_ext.engine.pseudo_labels import PseudoLabels
from fastreid_ext.modeling.losses import PrototypeMemory


def method_hooks(cfg: CfgNode, model: nn.Module) -> list[HookBase]:
    """List the hooks that follow from model, ``UNSUPERVISED`` and ``SOLVER.EMA``, in their order.

    Args:
        cfg: configuration of the training.
        model: trained model without its wrapper for several processes. Its
            ``training_hooks(cfg)``, where it has that, come first; a ``memory`` of prototypes is
            rebuilt by :class:`~fastreid_ext.engine.prototypes.PrototypeRebuild`.
    """
    build = getattr(model, "training_hooks", None)
    built = [] if build is None else list(build(cfg))
    if cfg.MODEL.BIN.ENABLED and cfg.MODEL.BIN.TRAINED_BY == "loss":
        built.append(GatesInRange(model))
    if cfg.UNSUPERVISED.ENABLED:
        built.append(_labels_kind(cfg, model)(cfg, model))
    if isinstance(getattr(model, "memory", None), PrototypeMemory):
        built.append(PrototypeRebuild(cfg, model))
    if cfg.SOLVER.EMA.DECAY > 0:
        decay = cfg.SOLVER.EMA.DECAY
        built.append(AveragedWeights(model, decay=decay, output_dir=cfg.OUTPUT_DIR))
    return built


def _labels_kind(cfg: CfgNode, model: nn.Module) -> type[PseudoLabels]:
    if not cfg.DATASETS.SOURCES:
        return PseudoLabels
    if hasattr(model, "refined_groups"):
        return GroupLabels
    return CurriculumLabels if cfg.UNSUPERVISED.CURRICULUM.ENABLED else DomainPseudoLabels
