"""Heads, registered in fastreid's registry: they turn a feature map into features and logits."""

from fastreid_ext.modeling.heads.batch_drop import BatchDrop
from fastreid_ext.modeling.heads.bdb_head import BDBHead
from fastreid_ext.modeling.heads.before_neck_head import BeforeNeckHead
from fastreid_ext.modeling.heads.projection_head import ProjectionHead
from fastreid_ext.modeling.heads.stripe_head import StripeHead

__all__ = ["BDBHead", "BatchDrop", "BeforeNeckHead", "ProjectionHead", "StripeHead"]
