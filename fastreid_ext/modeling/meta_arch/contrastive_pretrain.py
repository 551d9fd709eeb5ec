"""Self-supervised pre-training of DAPG: stage 1 against corruptions, stage 2 across poses.

Each image gives four views, q, k1, k2 and k3 (``INPUT.VIEWS.RECIPE dapg``): corrupted once, twice
and three times, and a mixture. A query encoder (backbone, pooling, MLP) embeds q; a key encoder, a
moving average of the query encoder, embeds the others.

    L = alpha L_mc + (1 - alpha) L_js

L_mc: q against its three keys as positives, and the keys of other images, of this batch or from a
queue, as negatives (:func:`multi_positive_contrastive_loss`). L_js: the distributions p_1, p_2, p_3
of k1, k2, k3 should agree (:func:`js_consistency_loss`).

Where the description [0] is silent:

- p_i is the softmax of k_i's cosines with the negatives, or of its channels, divided by tau.
- Keys have no gradient, so L_js of the keys' p_i would be a constant. Therefore the query encoder
  computes the p_i on k1, k2, k3, which costs three more passes with gradient. Without
  ``JSConsistencyLoss`` in ``MODEL.LOSSES.NAME`` they are left out.
- Negatives are all three keys of each other image. With one of them (m - 1 for a batch of m) a
  network could tell k1 from k2 by the corruption alone and reach a lower loss than by telling
  images apart.

Stage 2 (``INPUT.VIEWS.RECIPE pose``): the query is an image, its one key a pose-changed image of
the person, so that L_mc is InfoNCE; L_js, which compares keys of one image, is left out. Negatives
are the pose-changed images of the other images. The letter says "random other Market images", but
beside real ones a network could tell the key by the look of generated images.

Several processes: negatives and the queue are the keys of all, and the gradient is that of one
process with the same batch, up to batch normalisation. The statistics of a batch tell which images
are in it, so that a query could find its key by them. Therefore the images of all processes are
shuffled between the key encoders, as in MoCo. With ``NORM: syncBN`` (or a backbone without batch
normalisation) the statistics are those of all images, and nothing is shuffled.

Letters: B images of a process, W processes, A = W B images of all, C channels of the backbone, D
dimension of an embedding, K length of the queue, V views.

[0] DAPG, IEEE Signal Processing Letters, 2024, eq. 1-5
[1] He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
    https://arxiv.org/abs/1911.05722, sec. 3: key encoder, queue and shuffled batches
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses import (
    js_consistency_loss,
    multi_positive_log_loss,
    negative_similarities,
)
from fastreid_ext.modeling.meta_arch.view_losses import JS
from fastreid_ext.processes import process_count, process_rank, rows_of_all

VIEWS = 4  # of stage 1: q, k1, k2, k3
PAIR = 2  # of stage 2: an image and its pose-changed image


@META_ARCH_REGISTRY.register()
class ContrastivePretrain(Baseline):
    """Query encoder ``backbone`` and ``heads``, key encoder ``key_backbone`` and ``key_heads``.

    Evaluation gives the pooled feature of the query encoder, so that a labelled test set measures
    retrieval. A checkpoint can be a ``MODEL.BACKBONE.PRETRAIN_PATH``.

    Example:
        >>> from fastreid_ext.modeling.heads import ProjectionHead
        >>> backbone = nn.Conv2d(3, 8, kernel_size=8, stride=8)
        >>> pixels = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3}
        >>> head = ProjectionHead(feat_dim=8)
        >>> model = ContrastivePretrain(backbone=backbone, heads=head, **pixels)
        >>> sorted(model({"images": torch.rand(8, 3, 64, 32), "views": 4}))  # of two images
        ['loss_contrast', 'loss_js']

    Args:
        momentum: share in [0, 1) of the key encoder that stays in each step.
        queue_size: length K of the queue; 0 takes negatives from the batch instead.
        embedding_dim: dimension D of the embeddings.
        temperature: divisor tau > 0 of the cosines.
        contrast_scale: weight alpha of L_mc.
        js_scale: weight 1 - alpha of L_js; None leaves L_js out.
        js_over: distribution p_i of L_js: "negatives" (cosines with them) or "channels".
        views: number V of views of an image, the query and its V - 1 keys.
        baseline: keyword arguments of fastreid's Baseline.
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
        views: int = VIEWS,
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
        self.views = views
        self.shuffles = any(map(_uses_batch_statistics, self.key_backbone.modules()))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
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
            "views": PAIR if cfg.INPUT.VIEWS.RECIPE == "pose" else VIEWS,
        }

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the losses of a batch of V views, or in evaluation features (B, C)."""
        if not self.training:
            return self.heads(self.backbone(self.preprocess_image(batched_inputs)))
        images = split_views(self.preprocess_image(batched_inputs), batched_inputs, self.views)
        keys = self._keys(images[1:])
        # Without L_js the query encoder has one view to see.
        seen = images if self.js_scale is not None else images[:1]
        embedded = self.heads(self.backbone(seen.flatten(0, 1))).unflatten(0, seen.shape[:2])
        return self._losses(embedded, keys)

    @in_full_precision
    def _losses(self, embedded: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Compute the losses of embeddings (1 or V, B, D) and keys (V - 1, A, D); queue these."""
        query, *views = embedded
        first = process_rank() * len(query)
        own = keys[:, first : first + len(query)]
        # A copy, because the queue changes before the backward pass.
        queue = None if self.queue is None else self.queue.keys.clone()
        positive = torch.einsum("bd,vbd->bv", query, own)
        negative = negative_similarities(query, keys, queue, first=first)
        contrast = multi_positive_log_loss(positive, negative, self.temperature)
        losses = {"loss_contrast": self.contrast_scale * contrast}
        if self.js_scale is not None:
            if self.js_over == "negatives":
                views = [negative_similarities(view, keys, queue, first=first) for view in views]
            agreement = js_consistency_loss([view / self.temperature for view in views])
            losses["loss_js"] = self.js_scale * agreement
        if self.queue is not None:
            self.queue.push(keys.flatten(0, 1))
        return losses

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Move the key encoder towards the query encoder, and embed the images (V - 1, B, ...).

        Returns:
            Keys (V - 1, A, D) of all processes in the order of their ranks.
        """
        move_towards(self.key_backbone, self.backbone, self.momentum)
        move_towards(self.key_heads, self.heads, self.momentum)
        shuffles = self.shuffles and process_count() > 1
        seen = shuffle_between_processes(images) if shuffles else images
        keys = self.key_heads(self.key_backbone(seen.flatten(0, 1))).unflatten(0, seen.shape[:2])
        gathered = rows_of_all(keys[None])  # (W, V - 1, B, D)
        # A process has the images w B, w B + 1, ..., or, where they were shuffled, w, w + W, ...
        ordered = gathered.permute(1, 2, 0, 3) if shuffles else gathered.transpose(0, 1)
        return ordered.flatten(1, 2)


@torch.no_grad()
def move_towards(slow: nn.Module, module: nn.Module, momentum: float) -> None:
    """Move the parameters of a moving average towards those of a module of equal structure.

    Example:
        >>> module = nn.Linear(1, 1, bias=False)
        >>> slow = copy.deepcopy(module)
        >>> _ = nn.init.constant_(module.weight, 1.0), nn.init.constant_(slow.weight, 0.0)
        >>> move_towards(slow, module, momentum=0.75)
        >>> slow.weight.item()
        0.25

    Args:
        slow: moving average, changed in place.
        module: module that it follows.
        momentum: share in [0, 1) of the moving average that stays.
    """
    for parameter, average in zip(module.parameters(), slow.parameters(), strict=True):
        average.lerp_(parameter, 1 - momentum)


def shuffle_between_processes(images: Tensor) -> Tensor:
    """Give each process an equal share of the images of every process.

    Args:
        images: views (V, B, ...) of the images of this process.

    Returns:
        Views (V, B, ...) of images w, w + W, w + 2 W, ... of the A images of all processes, where w
        is the rank of this process.
    """
    # View by view, because all images of all processes together may be large.
    return torch.stack([rows_of_all(view)[process_rank() :: process_count()] for view in images])


def _uses_batch_statistics(module: nn.Module) -> bool:
    """Tell whether a module normalises with the statistics of the batch of its own process."""
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)


def split_views(images: Tensor, batch: Mapping[str, Any] | Tensor, expected: int) -> Tensor:
    """Split the rows (V * B, ...) of a batch, which come view by view, into (V, B, ...).

    Example:
        >>> rows = torch.rand(8, 3, 64, 32)  # four views of two images
        >>> split_views(rows, {"images": rows, "views": 4}, expected=4).shape
        torch.Size([4, 2, 3, 64, 32])

    Args:
        images: rows of the batch, the first B of them in the first view.
        batch: batch of the loader; ``batch["views"]`` is its number of views.
        expected: number V of views that the architecture needs.

    Raises:
        ValueError: the batch has another number of views.
    """
    found = batch.get("views", 1) if isinstance(batch, Mapping) else 1
    if found != expected or len(images) % expected:
        raise ValueError(
            f"expected a batch of {expected} views of each image, got {found} views in "
            f"{len(images)} rows; set INPUT.VIEWS.RECIPE as in the recipe of the method"
        )
    return images.unflatten(0, (expected, -1))


class KeyQueue(nn.Module):
    """Ring of the K newest keys, random unit vectors at first, as negatives of later batches.

    The keys are buffers, so that checkpoints hold them. Processes of one run hold equal queues: all
    push the keys of all processes in one order, and start with the random vectors of the main
    process, which ``wrap_for_processes`` sends.

    Example:
        >>> queue = KeyQueue(size=6, dim=4)
        >>> queue.push(torch.eye(4))
        >>> queue.position.item()  # of the next key
        4

    Args:
        size: length K, at least the number of keys that all processes push at once.
        dim: dimension D of a key.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest keys by the keys (N, D) of all processes.

        Raises:
            ValueError: N is larger than K.
        """
        if len(keys) > len(self.keys):
            raise ValueError(
                f"expected at most the {len(self.keys)} keys of MODEL.MOCO.QUEUE, got "
                f"{len(keys)} at once; enlarge it to a few batches"
            )
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[places] = keys.to(self.keys.dtype)
        self.position.add_(len(keys)).remainder_(len(self.keys))
