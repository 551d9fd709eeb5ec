"""Self-supervised pre-training against corruptions: stage 1 of DAPG.

Of each image come four views, q, k1, k2 and k3 (``INPUT.VIEWS.RECIPE dapg``): once, twice and three
times corrupted, and a mixture. A query encoder (backbone, pooling, MLP) embeds q; a key encoder, a
moving average of it, embeds the others.

    L = alpha L_mc + (1 - alpha) L_js

L_mc: q against its three keys as positives, and the keys of other images, of this batch or from a
queue, as negatives (:func:`multi_positive_contrastive_loss`). L_js: the distributions p_1, p_2, p_3
of k1, k2, k3 should agree (:func:`js_consistency_loss`).

Where the description [0] is silent:

- p_i is the softmax of k_i's cosines with the negatives, or of its channels, divided by tau.
- Keys have no gradient, so with their p_i L_js would be a constant. The p_i are therefore those of
  the query encoder on k1, k2, k3, which costs three more passes with gradient; without
  ``JSConsistencyLoss`` in ``MODEL.LOSSES.NAME`` they are left out.
- Negatives are all three keys of each other image. With one of them (m - 1 for a batch of m) a
  network could tell k1 from k2 by the corruption alone and reach a lower loss than by telling
  images apart.

Several processes: negatives and the queue are the keys of all, and the gradient is that of one
process with the same batch, up to batch normalisation. That tells which images came together, so
that a query would find its key by it; therefore the key encoder sees, as in MoCo, a batch dealt
together from all processes. With ``NORM: syncBN`` (or a backbone without batch normalisation) all
images come together, and nothing is dealt.

Letters: B images of a process, W processes, A = W B images of all, D dimension, K queue.

[0] DAPG, eq. 1-5; METHODS.md 4.1 of this project's sources
[1] He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
    https://arxiv.org/abs/1911.05722: key encoder and queue
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses import js_consistency_loss, multi_positive_log_loss
from fastreid_ext.modeling.meta_arch.key_queue import KeyQueue
from fastreid_ext.modeling.meta_arch.view_losses import JS
from fastreid_ext.processes import process_count, process_rank, rows_of_all

VIEWS = 4  # q, k1, k2, k3


@META_ARCH_REGISTRY.register()
class ContrastivePretrain(Baseline):
    """Query encoder ``backbone`` and ``heads``, key encoder ``key_backbone`` and ``key_heads``.

    In evaluation the pooled feature of the query encoder, so that a labelled test set measures
    retrieval. Its checkpoint is a ``MODEL.BACKBONE.PRETRAIN_PATH``.

    Args:
        momentum: share in [0, 1) of the key encoder that stays in each step.
        queue_size: K; 0 = the negatives are those of the batch.
        embedding_dim: D.
        temperature: tau > 0.
        contrast_scale: alpha.
        js_scale: 1 - alpha; None = without L_js.
        js_over: "negatives" or "channels".
        baseline: arguments of fastreid's Baseline.
    """

    takes_views = True

    @configurable
    def __init__(
        self,
        *,
        momentum: float = 0.999,
        queue_size: int = 0,
        embedding_dim: int = 128,
        temperature: float = 0.7,
        contrast_scale: float = 0.5,
        js_scale: float | None = 0.5,
        js_over: str = "negatives",
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        # Before the optimizer flattens the query's parameters, of which these are no part.
        self.key_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.key_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.queue = KeyQueue(queue_size, embedding_dim) if queue_size else None
        self.momentum = momentum
        self.temperature = temperature
        self.contrast_scale = contrast_scale
        self.js_scale = js_scale
        self.js_over = js_over
        self.deals = any(map(_knows_its_batch, self.key_backbone.modules()))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments off a configuration."""
        losses = cfg.MODEL.LOSSES
        moco = cfg.MODEL.MOCO
        return super().from_config(cfg) | {
            "momentum": moco.MOMENTUM,
            "queue_size": moco.QUEUE,
            "embedding_dim": cfg.MODEL.HEADS.EMBEDDING_DIM,
            "temperature": losses.MULTI_POSITIVE.TEMPERATURE,
            "contrast_scale": losses.MULTI_POSITIVE.SCALE,
            "js_scale": losses.JS.SCALE if JS in losses.NAME else None,
            "js_over": losses.JS.OVER,
        }

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Return losses in training, of a batch of four views; else features (B, C)."""
        if not self.training:
            return self.heads(self.backbone(self.preprocess_image(batched_inputs)))
        images = views_of(self.preprocess_image(batched_inputs), batched_inputs, VIEWS)
        keys = self._keys(images[1:])
        # Without L_js the query encoder has one view to see.
        seen = images if self.js_scale is not None else images[:1]
        embedded = self.heads(self.backbone(seen.flatten(0, 1))).unflatten(0, seen.shape[:2])
        return self._losses(embedded, keys)

    @in_full_precision
    def _losses(self, embedded: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Compute the terms of (1 or 4, B, D) embeddings and (3, A, D) keys, and keep the keys."""
        query, *views = embedded
        first = process_rank() * len(query)
        own = keys[:, first : first + len(query)]
        # A copy, because the queue changes before the backward pass.
        queue = None if self.queue is None else self.queue.keys.clone()
        positive = torch.einsum("bd,vbd->bv", query, own)
        negative = to_negatives(query, keys, queue, first)
        contrast = multi_positive_log_loss(positive, negative, self.temperature)
        losses = {"loss_contrast": self.contrast_scale * contrast}
        if self.js_scale is not None:
            if self.js_over == "negatives":
                views = [to_negatives(view, keys, queue, first) for view in views]
            agreement = js_consistency_loss([view / self.temperature for view in views])
            losses["loss_js"] = self.js_scale * agreement
        if self.queue is not None:
            self.queue.push(keys.flatten(0, 1))
        return losses

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Move the key encoder towards the query encoder; embed (3, B, ...) images.

        Returns:
            (3, A, D), the keys of all processes in the order of their ranks.
        """
        for ours, key in ((self.backbone, self.key_backbone), (self.heads, self.key_heads)):
            for parameter, slow in zip(ours.parameters(), key.parameters(), strict=True):
                slow.lerp_(parameter, 1 - self.momentum)
        deals = self.deals and process_count() > 1
        seen = dealt(images) if deals else images
        keys = self.key_heads(self.key_backbone(seen.flatten(0, 1))).unflatten(0, seen.shape[:2])
        gathered = rows_of_all(keys[None])  # (W, 3, B, D)
        # Those of a process: images w B, w B + 1, ..., or, where they were dealt, w, w + W, ...
        ordered = gathered.permute(1, 2, 0, 3) if deals else gathered.transpose(0, 1)
        return ordered.flatten(1, 2)


def dealt(images: Tensor) -> Tensor:
    """Deal the images of all processes out, as cards are.

    Args:
        images: (V, B, ...) of this process.

    Returns:
        (V, B, ...), of the A images of all processes the w-th, the (w + W)-th and so on, where w is
        the rank of this process.
    """
    # View by view, because all images of all processes together may be large.
    return torch.stack([rows_of_all(view)[process_rank() :: process_count()] for view in images])


def _knows_its_batch(module: nn.Module) -> bool:
    """Whether a module normalises with the statistics of the batch of its own process."""
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)


def to_negatives(rows: Tensor, keys: Tensor, queue: Tensor | None, first: int = 0) -> Tensor:
    """Return the cosines of each image with its negatives.

    Args:
        rows: (B, D).
        keys: (V, A, D).
        queue: (K, D), or None to take the keys of the other images.
        first: position in ``keys`` of the image of the first row.

    Returns:
        (B, K) or (B, V * (A - 1)).
    """
    if queue is not None:
        return rows @ queue.T
    count = keys.shape[1]
    steps = torch.arange(1, count, device=rows.device)
    places = torch.arange(first, first + len(rows), device=rows.device)
    others = (places[:, None] + steps) % count  # (B, A - 1)
    cosines = torch.einsum("bd,vjd->bvj", rows, keys)
    return cosines.gather(2, others[:, None].expand(-1, len(keys), -1)).flatten(1)


def views_of(images: Tensor, batch: Mapping[str, Any] | Tensor, expected: int) -> Tensor:
    """Take a view-major batch of ``expected`` views apart, to (V, B, ...).

    Raises:
        ValueError: it has another number of views.
    """
    found = batch.get("views", 1) if isinstance(batch, Mapping) else 1
    if found != expected or len(images) % expected:
        raise ValueError(
            f"expected a batch of {expected} views of each image, got {found} views in "
            f"{len(images)} rows; set INPUT.VIEWS.RECIPE as the base configuration has it"
        )
    return images.unflatten(0, (expected, -1))
