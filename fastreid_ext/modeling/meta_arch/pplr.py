"""PPLR: clusters of whole images, refined by the parts of a person, and parts by their agreement.

    L = L_global + L_triplet + mean of L_part [+ scale * (L_camera + mean of those of the parts)]

L_global: :func:`~fastreid_ext.modeling.losses.part_refinement.part_guided_loss`. L_part:
:func:`~fastreid_ext.modeling.losses.part_refinement.agreement_smoothing_loss`, and in the first
epochs cross-entropy with smoothed labels. L_triplet: hardest pairs of whole images with a soft
margin. L_camera: mean features of the other cameras of the cluster, in each feature space. The
agreement of a part is that of its nearest images with those of the whole image
(:func:`~fastreid_ext.neighbours.cross_agreement.cross_agreement`).

Several processes: triplets and cameras are those of all images of the step; a loss is the mean over
the images of this process, so that the average of the gradients is that of one process.

Letters: N training images, B batch, P parts, D feature dimension, C clusters.

[0] Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification",
    CVPR 2022, https://arxiv.org/abs/2203.14675
[1] its code, https://github.com/yoonkicho/PPLR
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn

from fastreid_ext.modeling.losses import (
    CameraProxies,
    agreement_smoothing_loss,
    camera_proxy_losses,
    cluster_centroids,
    part_guided_loss,
    soft_triplet_loss,
)
from fastreid_ext.modeling.meta_arch.ice import CAMERA_PROXY
from fastreid_ext.neighbours import cross_agreement

PPLR_LOSS = "PPLRLoss"  # in MODEL.LOSSES.NAME


@META_ARCH_REGISTRY.register()
class PPLR(Baseline):
    """fastreid's Baseline with a ``StripeHead``, whose classifiers begin each epoch as centroids.

    Evaluation gives the feature of the whole image.

    Args:
        beta: share in [0, 1] of the label in that of the whole image; the rest is the parts'.
        smoothing: share in [0, 1) of the labels of parts that is spread over all clusters, in the
            epochs before ``start_epoch``.
        start_epoch: epoch from which on agreements weigh the labels of the parts.
        neighbours: number of nearest images by which agreement is measured.
        proxies: mean features of the cameras of clusters, one for each feature space; None leaves
            L_camera out.
        camera: arguments of L_camera: ``scale``, ``temperature``, ``negatives``.
        baseline: keyword arguments of fastreid's Baseline.

    Attributes:
        agreement: (N, P) agreement of each part of each training image; None before the first
            clustering, where all parts agree.
    """

    cluster_facts = ("cameras", "epoch")
    agreement: Tensor | None

    @configurable
    def __init__(
        self,
        *,
        beta: float = 0.5,
        smoothing: float = 0.1,
        start_epoch: int = 5,
        neighbours: int = 20,
        proxies: nn.ModuleList | None = None,
        camera: Mapping[str, float],
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        self.beta = beta
        self.smoothing = smoothing
        self.start_epoch = start_epoch
        self.neighbours = neighbours
        self.proxies = proxies
        self.camera = camera
        self.epoch = 0
        self.num_clusters: int | None = None
        # It follows from the weights with which an epoch begins.
        self.register_buffer("agreement", None, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        keys = cfg.MODEL.LOSSES.PPLR
        camera = cfg.MODEL.LOSSES.CAMERA_PROXY
        size = (heads.NUM_CLASSES, cfg.MODEL.BACKBONE.FEAT_DIM)
        proxies = [
            CameraProxies(*size, normalised=camera.NORMALISED) for _ in range(1 + heads.STRIPES)
        ]
        return super().from_config(cfg) | {
            "beta": keys.BETA,
            "smoothing": keys.SMOOTHING,
            "start_epoch": keys.START_EPOCH,
            "neighbours": keys.NEIGHBOURS,
            "proxies": nn.ModuleList(proxies) if CAMERA_PROXY in cfg.MODEL.LOSSES.NAME else None,
            "camera": {
                "scale": camera.SCALE,
                "temperature": camera.TEMPERATURE,
                "negatives": camera.NEGATIVES,
            },
        }

    def training_features(self, batched_inputs: Mapping[str, Any]) -> Tensor:
        """Compute the features (B, 1 + P, D) of the whole image and of its parts."""
        images = self.preprocess_image(batched_inputs)
        return self.heads.all_features(self.backbone(images)).transpose(0, 1)

    @torch.no_grad()
    def begin_clusters(
        self, features: Tensor, labels: Tensor, *, cameras: Tensor, epoch: int
    ) -> None:
        """Set classifiers, agreements and proxies for an epoch.

        Args:
            features: (N, 1 + P, D) features of length 1 of all training images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
            cameras: (N,) camera of each image, counted from 0.
            epoch: number of the epoch.
        """
        self.epoch = epoch
        spaces = features.unbind(dim=1)
        for head, space in zip(self.heads.branches(), spaces, strict=True):
            centroids = cluster_centroids(space, labels)
            head.weight.zero_()
            head.weight[: len(centroids)].copy_(centroids)
        self.num_clusters = len(centroids)
        agreement = cross_agreement(features.to(self.device), self.neighbours)
        self.agreement = agreement.to(self.device)
        if self.proxies is not None:
            for proxies, space in zip(self.proxies, spaces, strict=True):
                proxies.begin(space, labels, cameras)

    def end_step(self, is_applied: bool) -> None:
        """Do nothing after a step; the classifiers are the optimizer's."""

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the losses of a batch, or in evaluation features (B, D) of whole images."""
        outputs = self.heads(self.backbone(self.preprocess_image(batched_inputs)))
        if not self.training:
            return outputs
        targets = batched_inputs["targets"]
        logits = outputs["logits"][..., : self.num_clusters]
        agreement = self._agreement_of(batched_inputs, logits)
        losses = {
            "loss_global": part_guided_loss(logits[0], logits[1:], agreement, targets, self.beta),
            "loss_triplet": soft_triplet_loss(outputs["features"][0], targets),
            "loss_part": self._of_parts(logits[1:], targets, agreement),
        }
        if self.proxies is not None:
            camera = self._of_cameras(outputs["features"], targets, batched_inputs["camids"])
            losses["loss_camera"] = self.camera["scale"] * camera
        return losses

    def _agreement_of(self, batch: Mapping[str, Any], logits: Tensor) -> Tensor:
        """Look up the agreements (B, P) of the images of a batch."""
        if self.agreement is None:
            return logits.new_ones(logits.shape[1], len(logits) - 1)
        return self.agreement[batch["indices"]]

    def _of_parts(self, logits: Tensor, targets: Tensor, agreement: Tensor) -> Tensor:
        """Average the losses of the parts, of logits (P, B, C)."""
        if self.epoch < self.start_epoch:
            losses = [
                F.cross_entropy(part.float(), targets, label_smoothing=self.smoothing)
                for part in logits
            ]
        else:
            losses = [
                agreement_smoothing_loss(part, targets, own)
                for part, own in zip(logits, agreement.T, strict=True)
            ]
        return torch.stack(losses).mean()

    def _of_cameras(self, features: Tensor, targets: Tensor, cameras: Tensor) -> Tensor:
        """Sum L_camera of the whole image and the mean of its parts'."""
        losses = [
            camera_proxy_losses(
                feature,
                targets,
                cameras,
                proxies,
                temperature=self.camera["temperature"],
                negatives=self.camera["negatives"],
                with_own_camera=False,
            ).mean()
            for feature, proxies in zip(features, self.proxies, strict=True)
        ]
        return losses[0] + torch.stack(losses[1:]).mean()
