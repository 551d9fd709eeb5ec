"""Loss terms that fastreid lacks: functions of tensors, one file for each loss.

:mod:`fastreid_ext.modeling.losses.registered` has the losses that ``MODEL.LOSSES.NAME`` names.
"""

from fastreid_ext.modeling.losses.bridge import (
    bridge_feature_loss,
    bridge_prediction_loss,
    mixing_diversity_loss,
)
from fastreid_ext.modeling.losses.byol import byol_loss
from fastreid_ext.modeling.losses.camera_diversity import (
    camera_diversity_weights,
    camera_entropies,
)
from fastreid_ext.modeling.losses.camera_proxies import CameraProxies, camera_proxy_losses
from fastreid_ext.modeling.losses.cluster_memory import ClusterMemory, cluster_centroids
from fastreid_ext.modeling.losses.feature_bank import FeatureBank, bank_triplet_loss
from fastreid_ext.modeling.losses.hybrid_memory import HybridMemory, hybrid_contrast_loss
from fastreid_ext.modeling.losses.instance_contrast import hard_instance_loss, soft_instance_loss
from fastreid_ext.modeling.losses.instance_memory import InstanceMemory, instance_contrast_loss
from fastreid_ext.modeling.losses.js_consistency import js_consistency_loss
from fastreid_ext.modeling.losses.label_uncertainty import (
    teacher_disagreement,
    triplet_terms,
    uncertain_cross_entropy,
    uncertain_triplet_loss,
)
from fastreid_ext.modeling.losses.memory_circle import memory_circle_loss, moved_centres
from fastreid_ext.modeling.losses.multi_positive import (
    multi_positive_contrastive_loss,
    multi_positive_log_loss,
    negative_similarities,
)
from fastreid_ext.modeling.losses.nt_xent import nt_xent_loss
from fastreid_ext.modeling.losses.part_refinement import (
    agreement_smoothing_loss,
    part_guided_loss,
)
from fastreid_ext.modeling.losses.prototype_contrast import (
    PrototypeMemory,
    prototype_contrast_loss,
)
from fastreid_ext.modeling.losses.smoothed_cross_entropy import smoothed_cross_entropy
from fastreid_ext.modeling.losses.soft_triplet import soft_triplet_loss
from fastreid_ext.modeling.losses.view_contrast import view_contrast_loss
from fastreid_ext.modeling.losses.weighted_triplet import weighted_triplet_loss

__all__ = [
    "CameraProxies",
    "ClusterMemory",
    "FeatureBank",
    "HybridMemory",
    "InstanceMemory",
    "PrototypeMemory",
    "agreement_smoothing_loss",
    "bank_triplet_loss",
    "bridge_feature_loss",
    "bridge_prediction_loss",
    "byol_loss",
    "camera_diversity_weights",
    "camera_entropies",
    "camera_proxy_losses",
    "cluster_centroids",
    "hard_instance_loss",
    "hybrid_contrast_loss",
    "instance_contrast_loss",
    "js_consistency_loss",
    "memory_circle_loss",
    "mixing_diversity_loss",
    "moved_centres",
    "multi_positive_contrastive_loss",
    "multi_positive_log_loss",
    "negative_similarities",
    "nt_xent_loss",
    "part_guided_loss",
    "prototype_contrast_loss",
    "smoothed_cross_entropy",
    "soft_instance_loss",
    "soft_triplet_loss",
    "teacher_disagreement",
    "triplet_terms",
    "uncertain_cross_entropy",
    "uncertain_triplet_loss",
    "view_contrast_loss",
    "weighted_triplet_loss",
]
