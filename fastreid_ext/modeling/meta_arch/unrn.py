"""UNRN: images about which student and teacher disagree count less in the losses of the target.

    L = L_id + L_triplet + L_u + L_contrast + L_centres [+ L_source]

u is the divergence of student and teacher, omega = exp(-u) the weight of an image, L_u the mean of
u. L_id, L_triplet: :mod:`~fastreid_ext.modeling.losses.label_uncertainty`. L_contrast: circle loss
of target images against the centres of the source's identities and a memory of target features;
L_centres: that of source images against the centres. L_source: cross-entropy of the source.

The form "paper" is what the paper says, and where that is not known the code's way without its
mistakes; "code" computes what the released code does.

Letters: B batch, D feature dimension, S identities of the source, C clusters, N images.

[0] Zheng et al., "Exploiting Sample Uncertainty for Domain Adaptive Person Re-Identification",
    AAAI 2021, https://arxiv.org/abs/2012.08733
[1] its code, https://github.com/zkcys001/UDAStrongBaseline
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses import (
    FeatureBank,
    cluster_centroids,
    memory_circle_loss,
    moved_centres,
    smoothed_cross_entropy,
    teacher_disagreement,
    uncertain_cross_entropy,
    uncertain_triplet_loss,
)
from fastreid_ext.modeling.meta_arch.mean_teacher import MeanTeacher, Outputs, outputs_of
from fastreid_ext.modeling.meta_arch.side_head import SideHead, SideMaps, fourth_stage
from fastreid_ext.processes import rows_of_all

UNRN_LOSS = "UNRNLoss"  # in MODEL.LOSSES.NAME
_RANDOM_ROWS = 0.001  # standard deviation of the rows of new classifiers in [1]


@META_ARCH_REGISTRY.register()
class UNRN(MeanTeacher):
    """MeanTeacher whose target images weigh as student and teacher agree about them.

    Compared are, in the softmax of all together, the products of a feature with the centres of the
    source and, with a side head, the logits of that head. In the form "code" the products have no
    gradient, classifiers begin each clustering at random, and the contrast is left out of an epoch
    that begins with a clustering.

    Attributes:
        centres: (S, D) centres of the source's identities, of length 1; they follow its features.
        memory: features of past target images behind their memory head, each with its weight omega
            as an additional last number; None before the first clustering.

    Args:
        form: "paper" or "code", the way in which weights reach the losses.
        compares_neck: whether the features behind the neck, which the centres are made of, are
            compared with them; else those before it, as in [1].
        has_side_head: whether maps of the third stage have a neck and a classifier too.
        has_memory_head: whether a linear layer and batch normalisation follow the neck for the
            contrast.
        width: dimension D of a feature.
        entries: number of features in the memory.
        centre_momentum: share in [0, 1] of a centre that stays in a step.
        terms: arguments of the losses, as in ``MODEL.LOSSES.UNRN``.
        teacher: keyword arguments of MeanTeacher.
    """

    centres: Tensor

    @configurable
    def __init__(
        self,
        *,
        form: str = "paper",
        compares_neck: bool = True,
        has_side_head: bool = False,
        has_memory_head: bool = False,
        width: int,
        entries: int = 8192,
        centre_momentum: float = 0.2,
        terms: Mapping[str, float],
        **teacher: Any,
    ) -> None:
        heads = teacher["heads"]
        backbone = teacher["backbone"]
        if has_side_head:
            heads.side = SideHead(fourth_stage(backbone).conv1.in_channels, len(heads.weight))
        if has_memory_head:
            heads.memory = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
            nn.init.kaiming_normal_(heads.memory[0].weight)
            nn.init.zeros_(heads.memory[0].bias)
        super().__init__(**teacher)
        self._side_maps = [SideMaps(net) for net in self._networks()] if has_side_head else []
        self.form = form
        self.compares_neck = compares_neck
        self.has_memory_head = has_memory_head
        self.terms = terms
        self.entries = entries
        self.centre_momentum = centre_momentum
        self.memory: FeatureBank | None = None
        self.register_buffer("centres", torch.zeros(0, width), persistent=False)
        self._is_new = False  # the clusters were made before the present epoch
        self._seen_of_target: tuple[Tensor, Tensor] | None = None
        self._seen_of_source: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.UNRN
        losses = cfg.MODEL.LOSSES.UNRN
        return super().from_config(cfg) | {
            "form": keys.FORM,
            "compares_neck": cfg.MODEL.HEADS.NECK_FEAT == "after",
            "has_side_head": keys.SIDE_HEAD,
            "has_memory_head": keys.MEMORY_HEAD,
            "width": cfg.MODEL.BACKBONE.FEAT_DIM,
            "entries": keys.MEMORY,
            "centre_momentum": keys.CENTRE_MOMENTUM,
            "momentum": keys.MOMENTUM,
            "terms": {
                "source": losses.SOURCE_SCALE,
                "smoothing": losses.SMOOTHING,
                "triplet": losses.TRIPLET_SCALE,
                "uncertainty": losses.UNCERTAINTY_SCALE,
                "contrast": losses.CONTRAST_SCALE,
                "centres": losses.CENTRE_SCALE,
                "margin": losses.MARGIN,
                "gamma": losses.GAMMA,
            },
        }

    def _networks(self) -> tuple[nn.Module, nn.Module]:
        return self.backbone, self.teacher_backbone

    @torch.no_grad()
    def begin_sources(self, features: Tensor, labels: Tensor) -> None:
        """Set the centres of the source, and its rows of both classifiers.

        Args:
            features: (N, D) features of length 1 of all source images, on the CPU.
            labels: (N,) identities 0 .. S-1.
        """
        super().begin_sources(features, labels)
        self.teacher_heads.weight.copy_(self.heads.weight)
        self.centres = cluster_centroids(features, labels).to(self.device)

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor) -> None:
        """Set the classifiers for new clusters and forget the features of the old ones.

        Args:
            features: (N, D) features of length 1 of all target images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
        """
        super().begin_clusters(features, labels)
        for heads in (self.heads, self.teacher_heads):
            self._begin_rows(heads)
        width = self.centres.shape[1]
        self.memory = FeatureBank(self.entries, width + 1, self.device)
        self._is_new = True

    def _begin_rows(self, heads: nn.Module) -> None:
        """Begin the classifiers of one network: the student's rows, or random ones in "code"."""
        if self.form == "code":
            _randomise(heads.weight)
        elif heads is not self.heads:
            heads.weight[self.num_sources :].copy_(self.heads.weight[self.num_sources :])
        if hasattr(heads, "side"):
            if self.form == "code" or heads is self.heads:
                _randomise(heads.side.weight)
            else:
                heads.side.weight.copy_(self.heads.side.weight)

    def keep_clusters(self) -> None:
        """Go on with the clusters of the epoch before."""
        self._is_new = False

    def remembered(self) -> dict[str, Any]:
        """Collect the state that a resumed run needs beside the weights."""
        memory = {} if self.memory is None else {"memory": self.memory.state_dict()}
        return super().remembered() | {"centres": self.centres.cpu(), **memory}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`remembered` has returned."""
        super().remember(state)
        self.centres = state["centres"].to(self.device)
        if "memory" in state:
            self.memory = FeatureBank.of_state(state["memory"], self.device)

    @torch.no_grad()
    def end_step(self, is_applied: bool) -> None:
        """Move teacher, centres and memory, if the step has changed the weights.

        Args:
            is_applied: whether the step has changed the weights.
        """
        super().end_step(is_applied)
        if is_applied and self._seen_of_target is not None and self.memory is not None:
            self.memory.push(*map(rows_of_all, self._seen_of_target))
        if is_applied and self._seen_of_source is not None and len(self.centres):
            seen = map(rows_of_all, self._seen_of_source)
            self.centres = moved_centres(self.centres, *seen, self.centre_momentum)
        self._seen_of_target = None
        self._seen_of_source = None

    def losses_of(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the losses of normalised images [source; target] with classes (B,)."""
        student = outputs_of(self.backbone, self.heads, images)
        side = self._side_logits(0, self.heads)
        with torch.no_grad():
            teacher = outputs_of(self.teacher_backbone, self.teacher_heads, images)
            taught_side = self._side_logits(1, self.teacher_heads)
        uncertainty = teacher_disagreement(
            self._compared(_second(self._feature(student)), side),
            self._compared(_second(self._feature(teacher)), taught_side),
        )
        keys = self.terms
        identities, clusters = targets.chunk(2)
        remembered = self.heads.memory(student.neck) if self.has_memory_head else student.neck
        log_accuracy(self._classes(student.logits).detach(), targets)
        losses = {
            "loss_cls_target": self._of_clusters(student, side, clusters, uncertainty),
            "loss_triplet": keys["triplet"]
            * uncertain_triplet_loss(
                _second(student.pooled), clusters, torch.exp(-uncertainty), self.form
            ),
            "loss_uncertainty": keys["uncertainty"] * uncertainty.mean(),
            **self._of_memory(
                self._feature(student).chunk(2)[0],
                _second(remembered),
                targets,
                torch.exp(-uncertainty.detach()),
            ),
        }
        if keys["source"]:
            logits = self._classes(student.logits).chunk(2)[0]
            loss = smoothed_cross_entropy(logits, identities, keys["smoothing"])
            losses["loss_cls_source"] = keys["source"] * loss
        return losses

    def _side_logits(self, network: int, heads: nn.Module) -> Tensor | None:
        """Classify the maps (B, ...) of the third stage; None without a side head."""
        if not self._side_maps:
            return None
        return heads.side(heads.pool_layer(self._side_maps[network].take()))

    def _classes(self, logits: Tensor) -> Tensor:
        return logits[:, : self.num_clusters]

    def _feature(self, outputs: Outputs) -> Tensor:
        return outputs.neck if self.compares_neck else outputs.pooled

    @in_full_precision
    def _compared(self, features: Tensor, side: Tensor | None) -> Tensor:
        """Join the values of target features (B / 2, D) by which two networks are compared."""
        products = features @ self.centres.to(features.dtype).T
        if self.form == "code":
            products = products.detach()
        parts = [products] if side is None else [_second(self._classes(side)), products]
        return torch.cat(parts, dim=1)

    def _of_clusters(
        self, student: Outputs, side: Tensor | None, clusters: Tensor, uncertainty: Tensor
    ) -> Tensor:
        """Sum the cross-entropies of the target over the classifiers."""
        weights = torch.exp(-uncertainty)
        heads = [student.logits] if side is None else [student.logits, side]
        losses = [
            uncertain_cross_entropy(
                _second(self._classes(logits)),
                clusters,
                weights,
                self.terms["smoothing"],
                self.form,
            )
            for logits in heads
        ]
        return torch.stack(losses).sum()

    @in_full_precision
    def _of_memory(
        self, of_source: Tensor, of_target: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Compute the circle losses of both domains, and keep what :meth:`end_step` writes.

        Args:
            of_source: (B / 2, D) features that are compared with the centres.
            of_target: (B / 2, D) features that the memory gets.
            targets: (B,) classes of the images.
            weights: (B / 2,) weights omega of the target images.
        """
        keys = self.terms
        identities, clusters = targets.chunk(2)
        of_target = F.normalize(of_target, dim=1)
        self._seen_of_source = (of_source.detach(), identities)
        self._seen_of_target = (
            torch.cat([of_target.detach(), weights[:, None]], dim=1),
            clusters,
        )
        own = identities[:, None] == torch.arange(len(self.centres), device=self.device)
        to_centres = F.normalize(of_source, dim=1) @ self.centres.to(of_source.dtype).T
        circle = {"margin": keys["margin"], "gamma": keys["gamma"]}
        centres = memory_circle_loss(to_centres, own, **circle)
        contrast = self._contrast(of_target, clusters, weights, circle)
        return {
            "loss_contrast": keys["contrast"] * contrast,
            "loss_centres": keys["centres"] * centres,
        }

    def _contrast(
        self, features: Tensor, clusters: Tensor, weights: Tensor, circle: Mapping[str, float]
    ) -> Tensor:
        """Compute the circle loss of target features (B / 2, D) against centres and memory."""
        is_left_out = self.form == "code" and self._is_new
        if self.memory is None or not len(self.memory) or is_left_out:
            return 0.0 * features.sum()  # every weight has a gradient, which several processes need
        used = len(self.memory)
        entries = self.memory.features[:used].to(features.dtype)
        similarity = features @ torch.cat([self.centres.to(features.dtype), entries[:, :-1]]).T
        same = clusters[:, None] == self.memory.labels[None, :used]
        is_positive = F.pad(same, (len(self.centres), 0))
        if self.form == "code":
            return memory_circle_loss(similarity, is_positive, **circle)
        of_entries = F.pad(entries[:, -1], (len(self.centres), 0), value=1.0)
        of_pairs = (weights[:, None] + of_entries[None, :]) / 2
        return memory_circle_loss(similarity, is_positive, of_pairs, **circle)


def _second(rows: Tensor) -> Tensor:
    """Return the rows of the target, the second half of a batch."""
    return rows.chunk(2)[1]


def _randomise(rows: Tensor) -> None:
    """Sample new rows (C, D), equal on all processes, from the generator of the first one."""
    sampled = _RANDOM_ROWS * torch.randn(rows.shape)
    rows.copy_(rows_of_all(sampled.to(rows.device))[: len(rows)])
