"""Batch DropBlock: fastreid's Baseline with the losses of two branches.

[0] Dai et al., "Batch DropBlock Network for Person Re-identification and Beyond", ICCV 2019,
    https://arxiv.org/abs/1811.07130
"""

from fastreid.modeling.losses import cross_entropy_loss, log_accuracy, triplet_loss
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor

from fastreid_ext.modeling.heads.bdb_head import BranchOutputs


@META_ARCH_REGISTRY.register()
class BDB(Baseline):
    """Baseline whose head (``BDBHead``) has a global and a part branch.

    With ``MODEL.LOSSES.TRI.MARGIN 0`` and ``HARD_MINING`` the triplet loss is the batch-hard
    soft-margin one of [0], on features that are not normalised.

    Example:
        >>> import torch
        >>> from fastreid_ext.modeling.heads import BDBHead
        >>> backbone = torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)
        >>> head = BDBHead(feat_dim=8, num_classes=5)
        >>> model = BDB(backbone=backbone, heads=head, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3)
        >>> model.eval()(torch.rand(2, 3, 64, 32)).shape  # features of the two branches
        torch.Size([2, 1536])
    """

    def losses(self, outputs: dict[str, BranchOutputs], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss_cls_<branch>`` and ``loss_triplet_<branch>``, each with its weight.

        Args:
            outputs: outputs of the head in training, by branch.
            gt_labels: identities (B,) of the images.
        """
        log_accuracy(outputs["global"]["pred_class_logits"].detach(), gt_labels)
        names = self.loss_kwargs["loss_names"]
        losses = {}
        for branch, output in outputs.items():
            if "CrossEntropyLoss" in names:
                logits = output["cls_outputs"]
                losses[f"loss_cls_{branch}"] = self._classification(logits, gt_labels)
            if "TripletLoss" in names:
                losses[f"loss_triplet_{branch}"] = self._triplet(output["features"], gt_labels)
        return losses

    def _classification(self, logits: Tensor, targets: Tensor) -> Tensor:
        keys = self.loss_kwargs["ce"]
        return keys["scale"] * cross_entropy_loss(logits, targets, keys["eps"], keys["alpha"])

    def _triplet(self, features: Tensor, targets: Tensor) -> Tensor:
        keys = self.loss_kwargs["tri"]
        return keys["scale"] * triplet_loss(
            features, targets, keys["margin"], keys["norm_feat"], keys["hard_mining"]
        )
