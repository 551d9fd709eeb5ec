"""A student on a source and a target, and its moving average, the teacher: for UNRN and GLT.

Letters: B batch, D feature dimension.

[0] Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017,
    https://arxiv.org/abs/1703.01780
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fastreid.config import configurable
from torch import Tensor, nn

from fastreid_ext.modeling.meta_arch.contrastive_pretrain import move_towards
from fastreid_ext.modeling.meta_arch.domain_baseline import DomainBaseline
from fastreid_ext.modeling.meta_arch.ice import ICE


class Outputs(NamedTuple):
    """Outputs of a network in training, for the images of source and target together.

    Attributes:
        pooled: (B, D) pooled features before the neck.
        neck: (B, D) features behind the neck, which are evaluated.
        logits: (B, C) logits of all rows of the classifier.
    """

    pooled: Tensor
    neck: Tensor
    logits: Tensor


class MeanTeacher(DomainBaseline):
    """DomainBaseline with ``teacher_backbone`` and ``teacher_heads``, which are evaluated.

    The teacher's parameters follow the student's after each step that was applied, by the share
    min(1 - 1 / (t + 1), momentum) in step t, so that the first step copies the student. Its running
    statistics are those of its own batches.

    A method derives from it and has ``losses_of(images, targets)``, the losses by name of
    normalised images (B, 3, H, W) with classes (B,).

    Args:
        momentum: largest share in [0, 1) of the teacher that stays in a step.
        baseline: keyword arguments of DomainBaseline; the head is fastreid's EmbeddingHead.
    """

    @configurable
    def __init__(self, *, momentum: float = 0.999, **baseline: Any) -> None:
        super().__init__(**baseline)
        # Before the optimizer flattens the student's parameters, of which these are no part.
        self.teacher_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.teacher_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.momentum = momentum
        self.steps = 0

    complete_weights = staticmethod(ICE.complete_weights)

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the losses of a batch [source; target], or the teacher's features (B, D)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.teacher_heads(self.teacher_backbone(images))
        return self.losses_of(images, batched_inputs["targets"])

    @torch.no_grad()
    def end_step(self, is_applied: bool) -> None:
        """Move the teacher's parameters towards the student's, if the step has changed these.

        Args:
            is_applied: whether the step has changed the weights.
        """
        if not is_applied:
            return
        share = min(1 - 1 / (self.steps + 1), self.momentum)
        move_towards(self.teacher_backbone, self.backbone, share)
        move_towards(self.teacher_heads, self.heads, share)
        self.steps += 1

    def remembered(self) -> dict[str, Any]:
        """Collect the state that a resumed run needs beside the weights."""
        return {"steps": self.steps, "num_clusters": self.num_clusters}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`remembered` has returned."""
        self.steps = state["steps"]
        self.num_clusters = state["num_clusters"]


def outputs_of(backbone: nn.Module, heads: nn.Module, images: Tensor) -> Outputs:
    """Compute what a network with fastreid's EmbeddingHead makes of images (B, 3, H, W)."""
    pooled = heads.pool_layer(backbone(images))
    neck = heads.bottleneck(pooled)[..., 0, 0]
    return Outputs(pooled[..., 0, 0], neck, F.linear(neck, heads.weight))
