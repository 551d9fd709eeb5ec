"""Losses over several views of an image, and over mixed images, in any meta-architecture.

A batch of V views of B images has V * B rows, view by view (row v * B + b is view v of image b),
and ``batch["views"]`` = V. The network sees all rows at once. :func:`add_view_losses` replaces the
model's ``losses`` method by a :class:`ViewLosses`, which

- gives the model's own losses the rows of view 0, the clean one, or all rows
  (``INPUT.VIEWS.SUPERVISED``);
- adds ``loss_js``: the JS divergence between the class predictions for the views of an image [0];
- adds ``loss_contrast``: each clean view against its other views, and against every view of the
  batch's images of other identities;
- takes weight * L(own) + (1 - weight) * L(partner) for ``batch["mix"]`` (Mixup, CutMix).

In BDB and MGN each branch has its own term, ``loss_js_<branch>``; the branches share the weight in
equal parts. Parameters, buffers and their names are as before, and so is evaluation.

Letters: V views, B images, C classes, D dimension.

[0] CIL: Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021,
    https://arxiv.org/abs/2111.00880: cross-entropy and triplets on the clean view, JS over three
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from fastreid_ext.modeling.losses import js_consistency_loss, view_contrast_loss

Losses = dict[str, Tensor]
# Names in MODEL.LOSSES.NAME that every architecture with class logits and features can compute.
JS = "JSConsistencyLoss"
CONTRASTIVE = "MultiPositiveContrastiveLoss"
VIEW_LOSSES = (JS, CONTRASTIVE)
# Names of two outputs of fastreid's heads: logits (B, C) without margin, and features (B, D).
LOGITS = "pred_class_logits"
FEATURES = "features"


def add_view_losses(model: nn.Module, cfg: CfgNode) -> None:
    """Replace ``model.losses`` if the configuration shows several views or mixes images.

    Otherwise, and where an architecture splits the views itself (its class has ``takes_views =
    True``), the model stays as it is.

    Raises:
        ValueError: the architecture has no ``losses`` method.
    """
    shows_views = bool(cfg.INPUT.VIEWS.RECIPE)
    mixes_images = cfg.INPUT.MIXUP.ENABLED or cfg.INPUT.CUTMIX.ENABLED
    if getattr(type(model), "takes_views", False) or not (shows_views or mixes_images):
        return
    if not callable(getattr(model, "losses", None)):
        raise ValueError(
            "expected a meta-architecture with losses(outputs, targets) for INPUT.VIEWS, MIXUP "
            f"and CUTMIX, got {type(model).__name__}, which has none; give it one that returns a "
            "dict of losses, or turn these keys off"
        )
    keys = cfg.MODEL.LOSSES
    losses = ViewLosses(
        model.losses,
        on_all_views=cfg.INPUT.VIEWS.SUPERVISED == "all",
        js_scale=keys.JS.SCALE if JS in keys.NAME else None,
        contrast_scale=keys.MULTI_POSITIVE.SCALE if CONTRASTIVE in keys.NAME else None,
        temperature=keys.MULTI_POSITIVE.TEMPERATURE,
    )
    model.losses = losses
    model.register_forward_pre_hook(losses.remember)


class ViewLosses:
    """Losses of a model for batches of several views or mixed images.

    Example:
        >>> import torch
        >>> def losses(outputs, targets):
        ...     return {"loss_cls": torch.tensor(float(len(targets)))}  # number of rows it sees
        >>> both = ViewLosses(losses, js_scale=1.0)
        >>> both.remember(torch.nn.Identity(), ({"views": 2},))
        >>> both({"pred_class_logits": torch.zeros(6, 10)}, torch.zeros(6))  # two views of 3 images
        {'loss_cls': tensor(3.), 'loss_js': tensor(0.)}

    Args:
        host: ``losses`` method of the model; its last argument is the targets.
        on_all_views: whether the host sees the rows of all views, or of the first view only.
        js_scale: weight of the JS term; None leaves the term out.
        contrast_scale: weight of the contrastive term; None leaves the term out.
        temperature: divisor > 0 of the cosines in the contrastive term.
    """

    def __init__(
        self,
        host: Callable[..., Losses],
        *,
        on_all_views: bool = False,
        js_scale: float | None = None,
        contrast_scale: float | None = None,
        temperature: float = 0.7,
    ) -> None:
        self._host = host
        self._on_all_views = on_all_views
        self._js_scale = js_scale
        self._contrast_scale = contrast_scale
        self._temperature = temperature
        self._views = 1
        self._mix: Mapping[str, Any] | None = None

    def remember(self, model: nn.Module, inputs: tuple) -> None:
        """Keep number of views and mixing of the batch; a forward pre-hook of the model."""
        batch = inputs[0] if inputs and isinstance(inputs[0], Mapping) else {}
        self._views = batch.get("views", 1)
        self._mix = batch.get("mix")

    def __call__(self, *args: Any, **kwargs: Any) -> Losses:
        """Compute the losses by name, each with its weight; takes the arguments of the host.

        Raises:
            ValueError: the batch has one view, its rows are no multiple of its views, or the head
                lacks an output that a term needs.
        """
        call = inspect.signature(self._host).bind(*args, **kwargs)
        *outputs, (_, targets) = call.arguments.items()
        count = self._images_of_a_view(targets)
        branches = {
            name: branch
            for argument, value in outputs
            for name, branch in branches_of(value, argument.removesuffix("outputs").strip("_"))
        }
        losses = self._own_losses(call, targets, count)
        if self._js_scale is not None:
            losses |= self._term("loss_js", self._js_scale, branches, LOGITS, self._js)
        if self._contrast_scale is not None:
            loss = functools.partial(self._contrast, targets)
            losses |= self._term("loss_contrast", self._contrast_scale, branches, FEATURES, loss)
        return losses

    def _images_of_a_view(self, targets: Tensor) -> int:
        rows = len(targets)
        views = self._views
        if rows % views:
            raise ValueError(
                f"expected a multiple of batch['views'] = {views} rows, got {rows}; a batch holds "
                "every view of each of its images"
            )
        if views < 2 and (self._js_scale, self._contrast_scale) != (None, None):
            raise ValueError(
                f"expected batches with at least two views for {JS} and {CONTRASTIVE}, got one; "
                "set INPUT.VIEWS.RECIPE, or take the names out of MODEL.LOSSES.NAME"
            )
        return rows // views

    def _own_losses(self, call: inspect.BoundArguments, targets: Tensor, count: int) -> Losses:
        """Compute the model's own losses on the rows it should see, for each set of targets."""
        rows = len(targets)
        kept = rows if self._on_all_views else count
        given = {name: first_rows(value, rows, kept) for name, value in call.arguments.items()}
        call.arguments.update(given)
        if self._mix is None:
            return self._host(*call.args, **call.kwargs)
        partners = self._mix["targets"]
        weight = self._mix["weight"]
        if partners.shape != targets.shape:
            raise ValueError(
                f"expected a mixing partner for each of {rows} rows in batch['mix'], got "
                f"{tuple(partners.shape)}"
            )
        own = self._host(*call.args, **call.kwargs)
        name = list(call.arguments)[-1]
        call.arguments[name] = first_rows(partners, rows, kept)
        with EventStorage():  # only the accuracy for the own targets is logged
            partner = self._host(*call.args, **call.kwargs)
        return {name: weight * own[name] + (1 - weight) * partner[name] for name in own}

    def _js(self, logits: Tensor) -> Tensor:
        return js_consistency_loss(logits.chunk(self._views))

    def _contrast(self, targets: Tensor, features: Tensor) -> Tensor:
        return view_contrast_loss(features, targets, self._views, self._temperature)

    @staticmethod
    def _term(
        title: str,
        scale: float,
        branches: Mapping[str, Mapping[str, Tensor]],
        key: str,
        loss: Callable[[Tensor], Tensor],
    ) -> Losses:
        """Compute one term for each branch that has the output ``key``."""
        inputs = {name: branch[key] for name, branch in branches.items() if key in branch}
        if not inputs:
            raise ValueError(
                f"expected an output '{key}' of the head for {title}, as fastreid's heads have, "
                f"got {[sorted(branch) for branch in branches.values()]}"
            )
        share = scale / len(inputs)
        return {
            f"{title}_{name}".rstrip("_"): share * loss(value) for name, value in inputs.items()
        }


def branches_of(outputs: Any, name: str) -> list[tuple[str, Mapping[str, Tensor]]]:
    """List name and outputs of each branch: the mappings that hold logits or features.

    Example:
        >>> import torch
        >>> outputs = {"b1": {"features": torch.zeros(2, 8)}, "b2": {"features": torch.ones(2, 8)}}
        >>> [name for name, _ in branches_of(outputs, "")]
        ['b1', 'b2']
    """
    if not isinstance(outputs, Mapping):
        return []
    if LOGITS in outputs or FEATURES in outputs:
        return [(name, outputs)]
    return [
        branch
        for key, value in outputs.items()
        for branch in branches_of(value, f"{name}_{key}".strip("_"))
    ]


def first_rows(value: Any, rows: int, kept: int) -> Any:
    """Take the first ``kept`` of ``rows`` rows of every tensor in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return value[:kept] if value.ndim and len(value) == rows else value
    if isinstance(value, Mapping):
        return {key: first_rows(inner, rows, kept) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(first_rows(inner, rows, kept) for inner in value)
    return value
