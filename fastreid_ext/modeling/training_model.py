"""Build a model with what only its training uses."""

from fastreid.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.modeling.build import build_model
from fastreid_ext.modeling.diffusion_branch import add_diffusion_branch
from fastreid_ext.modeling.domain_batch_norm import separate_domains, train_biases
from fastreid_ext.modeling.grouped_batch_norm import group_batch_norms
from fastreid_ext.modeling.meta_arch import add_losses, add_view_losses


def build_training_model(cfg: CfgNode) -> nn.Module:
    """Build the model and add registered losses, losses of views, and the diffusion branch.

    Its batch normalisation takes groups of ``MODEL.BN_GROUP`` images, where that is set, and tells
    the domains of a batch apart with ``MODEL.DOMAIN_BN``.
    """
    model = build_model(cfg)
    add_losses(model, cfg)
    add_view_losses(model, cfg)
    add_diffusion_branch(model, cfg)
    if cfg.MODEL.DOMAIN_BN.ENABLED:
        _separate_domains(model, cfg)
    elif cfg.MODEL.BN_GROUP:
        group_batch_norms(model, cfg.MODEL.BN_GROUP)
    return model


def _separate_domains(model: nn.Module, cfg: CfgNode) -> None:
    """Give each domain its batch normalisation; an architecture may say which layers see three."""
    if not any(isinstance(module, _BatchNorm) for module in model.backbone.modules()):
        raise ValueError(
            "expected a backbone with batch normalisation for MODEL.DOMAIN_BN.ENABLED, got "
            f"{type(model.backbone).__name__} without; set it to False"
        )
    by_default = {"domains_of": model.domains_of} if hasattr(model, "domains_of") else {}
    separate_domains(model, group=cfg.MODEL.BN_GROUP, **by_default)
    if cfg.MODEL.DOMAIN_BN.NECK_BIAS == "trained":
        train_biases(model.heads)
