"""Build a model with what only its training uses."""

from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.modeling.build import build_model
from fastreid_ext.modeling.diffusion_branch import add_diffusion_branch
from fastreid_ext.modeling.grouped_batch_norm import group_batch_norms
from fastreid_ext.modeling.meta_arch import add_losses, add_view_losses


def build_training_model(cfg: CfgNode) -> nn.Module:
    """Build the model and add registered losses, losses of views, and the diffusion branch.

    Its batch normalisation takes groups of ``MODEL.BN_GROUP`` images, where that is set.
    """
    model = build_model(cfg)
    add_losses(model, cfg)
    add_view_losses(model, cfg)
    add_diffusion_branch(model, cfg)
    if cfg.MODEL.BN_GROUP:
        group_batch_norms(model, cfg.MODEL.BN_GROUP)
    return model
