"""ICE: a student learns from centroids, and from a teacher's view of the other images of the batch.

The teacher is a moving average of the student's weights. It makes the features that are clustered
and evaluated. Of each image there are two strong views and a weak one (``INPUT.VIEWS.RECIPE
strong_weak``):

    L = L_proxy + L_hard + 10 L_soft [+ 0.5 L_camera]

L_proxy: cross-entropy of the student's feature of view 1 with the centroids of all clusters.
L_hard: that feature against the teacher's features of view 2, the least similar one of its cluster
as the positive. L_soft: its similarities to these should be those of the teacher's weak views.
L_camera: mean features of each camera of each cluster, see
:mod:`~fastreid_ext.modeling.losses.camera_proxies`.

The teacher normalises with the statistics of its own batches, shuffled, so that a group of images
does not tell what is in it; its running statistics are its own too.

Several processes: the batch is that of all processes, and so is the shuffle.

Letters: N training images, B images of this process, A images of all, D feature dimension, C
clusters.

[0] Chen et al., "ICE: Inter-instance Contrastive Encoding for Unsupervised Person
    Re-identification", ICCV 2021, https://arxiv.org/abs/2103.16364
[1] its code, https://github.com/chenhao2345/ICE
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses import (
    CameraProxies,
    camera_proxy_losses,
    hard_instance_loss,
    soft_instance_loss,
)
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import move_towards, split_views
from fastreid_ext.processes import process_count, process_rank, rows_of_all

ICE_LOSS = "ICELoss"  # in MODEL.LOSSES.NAME
CAMERA_PROXY = "CameraProxyLoss"
_TEACHER = "teacher_"
VIEWS = 3  # two strong ones, one weak one


@META_ARCH_REGISTRY.register()
class ICE(Baseline):
    """Student ``backbone`` and ``heads``, teacher ``teacher_backbone`` and ``teacher_heads``.

    Evaluation gives the teacher's feature.

    Args:
        centroids: number of clusters for which there are rows before the first clustering.
        dim: dimension D of a feature.
        momentum: share in [0, 1) of the teacher that stays in each step.
        first_view_seen: let the teacher see view 1 too. No loss uses these features, but its
            running statistics are then those of [1].
        proxies: mean features of the cameras of clusters; None leaves L_camera out.
        terms: arguments of the losses: ``proxy_temperature``, ``smoothing``,
            ``hard_temperature``, ``soft_temperature``, ``soft_scale``.
        camera: arguments of L_camera: ``scale``, ``temperature``, ``negatives``.
        baseline: keyword arguments of fastreid's Baseline.
    """

    takes_views = True
    cluster_facts = ("cameras",)
    centroids: Tensor

    @configurable
    def __init__(
        self,
        *,
        centroids: int,
        dim: int,
        momentum: float = 0.999,
        first_view_seen: bool = True,
        proxies: CameraProxies | None = None,
        terms: Mapping[str, float],
        camera: Mapping[str, float],
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        # The classifier would be weights without a gradient.
        rows = self.heads.weight
        self.heads.weight = nn.Parameter(rows.new_zeros(0, rows.shape[1]), requires_grad=False)
        # Before the optimizer flattens the student's parameters, of which these are no part.
        self.teacher_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.teacher_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.register_buffer("centroids", torch.zeros(centroids, dim), persistent=False)
        self.proxies = proxies
        self.momentum = momentum
        self.first_view_seen = first_view_seen
        self.terms = terms
        self.camera = camera

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        keys = cfg.MODEL.LOSSES.ICE
        camera = cfg.MODEL.LOSSES.CAMERA_PROXY
        dim = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        proxies = CameraProxies(heads.NUM_CLASSES, dim, normalised=camera.NORMALISED)
        return super().from_config(cfg) | {
            "centroids": heads.NUM_CLASSES,
            "dim": dim,
            "momentum": cfg.MODEL.ICE.MOMENTUM,
            "first_view_seen": cfg.MODEL.ICE.FIRST_VIEW_SEEN,
            "proxies": proxies if CAMERA_PROXY in cfg.MODEL.LOSSES.NAME else None,
            "terms": {
                "proxy_temperature": keys.PROXY_TEMPERATURE,
                "smoothing": keys.SMOOTHING,
                "hard_temperature": keys.HARD_TEMPERATURE,
                "soft_temperature": keys.SOFT_TEMPERATURE,
                "soft_scale": keys.SOFT_SCALE,
            },
            "camera": {
                "scale": camera.SCALE,
                "temperature": camera.TEMPERATURE,
                "negatives": camera.NEGATIVES,
            },
        }

    @staticmethod
    def complete_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the teacher the student's weights where a file has none of a teacher.

        Args:
            weights: tensors of a checkpoint of any architecture, by name.
        """
        if any(name.startswith(_TEACHER) for name in weights):
            return dict(weights)
        copied = {
            f"{_TEACHER}{name}": value
            for name, value in weights.items()
            if name.startswith(("backbone.", "heads."))
        }
        return {**weights, **copied}

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor, *, cameras: Tensor) -> None:
        """Set the centroids and the proxies of an epoch.

        Args:
            features: (N, D) features of length 1 of all training images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
            cameras: (N,) camera of each image, counted from 0.
        """
        self.centroids = cluster_means(features, labels).to(self.centroids)
        if self.proxies is not None:
            self.proxies.begin(features, labels, cameras)

    @torch.no_grad()
    def end_step(self, is_applied: bool) -> None:
        """Move the teacher's parameters towards the student's, if the step has changed these.

        Args:
            is_applied: whether the step has changed the weights.
        """
        if is_applied:
            move_towards(self.teacher_backbone, self.backbone, self.momentum)
            move_towards(self.teacher_heads, self.heads, self.momentum)

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the losses of a batch of three views, or in evaluation features (B, D)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.teacher_heads(self.teacher_backbone(images))
        views = split_views(images, batched_inputs, VIEWS)
        count = views.shape[1]
        targets = batched_inputs["targets"][:count]
        cameras = batched_inputs["camids"][:count]
        # The student's running statistics are never used, so it need not see view 2 as in [1].
        feature = self.heads(self.backbone(views[0]), targets)["features"]
        taught = self._taught(views if self.first_view_seen else views[1:])
        return self._losses(feature, *taught[-2:], targets, cameras)

    @torch.no_grad()
    def _taught(self, views: Tensor) -> list[Tensor]:
        """Compute the teacher's features (A, D) of the views (V, B, ...) of all processes."""
        count = views.shape[1]
        first = process_rank() * count
        order = self._order(count * process_count()).to(views.device)
        features = []
        for view in views:
            mine = rows_of_all(view)[order[first : first + count]]
            shuffled = self.teacher_heads(self.teacher_backbone(mine), None)["features"]
            gathered = rows_of_all(shuffled)
            features.append(torch.zeros_like(gathered).index_copy(0, order, gathered))
        return features

    def _order(self, count: int) -> Tensor:
        """Sample the order in which the teacher sees the images of all processes.

        Where it normalises over all of them at once, an order changes nothing.
        """
        groups = [
            getattr(module, "group", count // process_count())
            for module in self.teacher_backbone.modules()
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
        ]
        if not groups or min(groups) >= count:
            return torch.arange(count)
        order = torch.randperm(count)
        return rows_of_all(order.to(self.device))[:count]  # that of the first process

    @in_full_precision
    def _losses(
        self, feature: Tensor, taught: Tensor, weak: Tensor, targets: Tensor, cameras: Tensor
    ) -> dict[str, Tensor]:
        """Compute the losses of the student's features (B, D) and the teacher's (A, D)."""
        keys = self.terms
        own = process_rank() * len(feature)
        all_targets = rows_of_all(targets)
        taught = F.normalize(taught, dim=1)
        weak = F.normalize(weak, dim=1)
        similarity = F.normalize(feature, dim=1) @ taught.T  # (B, A)
        expected = weak[own : own + len(feature)] @ weak.T
        logits = feature @ self.centroids.T / keys["proxy_temperature"]
        losses = {
            "loss_proxy": F.cross_entropy(logits, targets, label_smoothing=keys["smoothing"]),
            "loss_hard": hard_instance_loss(
                similarity, targets, all_targets, keys["hard_temperature"]
            ),
            "loss_soft": keys["soft_scale"]
            * soft_instance_loss(similarity, expected, keys["soft_temperature"]),
        }
        if self.proxies is not None:
            losses["loss_camera"] = self.camera["scale"] * self._of_cameras(
                feature, targets, cameras
            )
        return losses

    def _of_cameras(self, feature: Tensor, targets: Tensor, cameras: Tensor) -> Tensor:
        """Average L_camera over the images of each camera, and sum over the cameras."""
        each = camera_proxy_losses(
            feature,
            targets,
            cameras,
            self.proxies,
            temperature=self.camera["temperature"],
            negatives=self.camera["negatives"],
        )
        of_camera = (cameras[:, None] == rows_of_all(cameras)[None, :]).sum(dim=1)
        # The gradients of the processes are averaged afterwards.
        return process_count() * (each / of_camera).sum()


def cluster_means(features: Tensor, labels: Tensor) -> Tensor:
    """Average the features of each cluster, without normalising the means.

    Example:
        >>> cluster_means(torch.eye(2), torch.tensor([0, 0]))
        tensor([[0.5000, 0.5000]], dtype=torch.float64)

    Args:
        features: (N, D) features of length 1 on the CPU.
        labels: (N,) clusters 0 .. C-1, each used; -1 for images that are left out.

    Returns:
        (C, D) float64 means.
    """
    kept = labels >= 0
    own = labels[kept]
    counts = torch.bincount(own)
    # Sums in float64 on the CPU, whose order is fixed.
    sums = torch.zeros(len(counts), features.shape[1], dtype=torch.float64)
    sums.index_add_(0, own, features[kept].double())
    return sums / counts[:, None]
