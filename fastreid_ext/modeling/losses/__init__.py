"""Loss terms that fastreid lacks: functions of tensors, each in a file of its own."""

from fastreid_ext.modeling.losses.js_consistency import js_consistency_loss
from fastreid_ext.modeling.losses.multi_positive import (
    multi_positive_contrastive_loss,
    multi_positive_log_loss,
)

__all__ = [
    "js_consistency_loss",
    "multi_positive_contrastive_loss",
    "multi_positive_log_loss",
]
