"""MetaBIN's step: train the network on all domains, then its gates on domains held out in turn.

First the ordinary step on the first half of the batch, which moves everything but the gates. The
second half has equally many persons of each domain. Its domains are shuffled; the losses of some,
meta-train, move the gates for a moment, and the triplet loss of the others, meta-test, there gives
the gradient by which the gates really move. Only first-order terms are kept, so two plain gradients
do [0]. Running statistics of batch normalisation follow the ordinary step alone.

[0] Choi et al., "Meta Batch-Instance Normalization for Generalizable Person Re-Identification",
    CVPR 2021, sections 3.3 and 3.4, https://arxiv.org/abs/2011.14670
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine.hooks import HookBase
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.data.domain_batches import domain_field, has_meta_half
from fastreid_ext.engine.step import LossCopy, TrainingStep
from fastreid_ext.modeling.batch_instance_norm import norms_of
from fastreid_ext.modeling.losses.domain_spread import scatter_loss, shuffle_loss
from fastreid_ext.processes import process_count, sum_over_all

LOWEST = 0.001  # factor of the inner rate at the beginning of a cycle
HIGHEST = 0.1  # and in its middle
FIXED = 0.01  # the factor without cycles


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaSettings:
    """Settings of the meta-training of gates.

    Attributes:
        rate: learning rate of the gates.
        cycle: iterations of a cycle of the inner rate; 0 = a fixed factor.
        test_domains: number of domains that are meta-test in a step.
        margin: margin of the triplet losses.
        smoothing: label smoothing of the cross-entropy.
        losses: names of the meta-train losses: "triplet", "scatter", "shuffle", "cross_entropy".
            The last one joins the triplet loss of meta-test too.
        domain_field: field of a batch that holds the domains.
    """

    rate: float
    cycle: int
    test_domains: int
    margin: float
    smoothing: float
    losses: tuple[str, ...]
    domain_field: str

    @classmethod
    def from_config(cls, cfg: CfgNode, iterations: int) -> "MetaSettings":
        """Read ``SOLVER.META``.

        Args:
            cfg: configuration of the training.
            iterations: number of iterations of an epoch.
        """
        meta = cfg.SOLVER.META
        return cls(
            rate=meta.GATE_LR,
            cycle=round(meta.CYCLE_EPOCHS * iterations),
            test_domains=meta.TEST_DOMAINS,
            margin=cfg.MODEL.LOSSES.TRI.MARGIN,
            smoothing=cfg.MODEL.LOSSES.CE.EPSILON,
            losses=tuple(meta.LOSSES),
            domain_field=domain_field(cfg),
        )


def step_kind(cfg: CfgNode, iterations: int) -> Callable[..., TrainingStep]:
    """Choose the kind of training step that a configuration asks for, MetaBIN's or the usual one.

    Args:
        cfg: configuration of the training.
        iterations: number of iterations of an epoch.
    """
    if not has_meta_half(cfg):
        return TrainingStep
    return functools.partial(MetaStep, settings=MetaSettings.from_config(cfg, iterations))


class GatesInRange(HookBase):
    """Keep gates that the ordinary loss trains in [0, 1], after every step.

    Args:
        model: model with batch-instance normalisation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = norms_of(model)

    def after_step(self) -> None:
        """Clamp the gates in place."""
        for norm in self._norms.values():
            norm.gate.data.clamp_(0, 1)


class MetaStep(TrainingStep):
    """Step on the first half of a batch, and a meta-step of the gates on the second.

    Args:
        parts: positional arguments of :class:`~fastreid_ext.engine.step.TrainingStep`.
        settings: settings of the meta-training of gates.
        options: keyword arguments of :class:`~fastreid_ext.engine.step.TrainingStep`.
    """

    def __init__(self, *parts: Any, settings: MetaSettings, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._settings = settings
        self._network = getattr(self.model, "module", self.model)
        self._gates = [norm.gate for norm in norms_of(self._network).values()]
        self._test_losses = ("triplet", *({"cross_entropy"} & set(settings.losses)))

    def train_on(self, batch: dict[str, Any]) -> bool:
        """Train the network, then the gates.

        Returns:
            Whether network and gates were updated.
        """
        half = len(batch["targets"]) // 2
        is_applied = super().train_on(part_of(batch, np.arange(half)))
        for gate in self._gates:
            gate.grad = None  # of the ordinary loss, which does not train the gates
        return is_applied and self._train_gates(part_of(batch, np.arange(half, 2 * half)))

    def _train_gates(self, batch: dict[str, Any]) -> bool:
        settings = self._settings
        domains = torch.as_tensor(batch[settings.domain_field]).cpu().numpy()
        rng = np.random.default_rng([self.data_loader.seed, self.iteration])
        is_test = np.isin(domains, held_out(domains, settings.test_domains, rng))
        inner = settings.rate * inner_factor(self.iteration, settings.cycle)
        with statistics_held(self._network):
            losses = self._losses(part_of(batch, np.flatnonzero(~is_test)), settings.losses)
            gradients = self._gradients(losses)
            if not self.is_finite_everywhere(LossCopy(losses), batch):
                return False
            before = [gate.detach().clone() for gate in self._gates]
            move(self._gates, gradients, inner)
            found = self._losses(part_of(batch, np.flatnonzero(is_test)), self._test_losses)
            gradients = self._gradients(found)
        with torch.no_grad():
            for gate, old in zip(self._gates, before, strict=True):
                gate.copy_(old)
        found = {f"{name}_test": loss for name, loss in found.items()}
        if not self.is_finite_everywhere(LossCopy(found), batch):
            return False
        move(self._gates, gradients, settings.rate)
        return True

    def _losses(self, batch: dict[str, Any], names: tuple[str, ...]) -> dict[str, Tensor]:
        """Compute losses of the pooled features, which stand before the neck."""
        dtype = self.autocast_dtype
        network = self._network
        with torch.autocast(self.device_type, dtype=dtype, enabled=dtype is not None):
            maps = network.backbone(network.preprocess_image(batch))
            targets = batch["targets"].to(maps.device)
            outputs = network.heads(maps, targets)
        features = outputs["features"] if dtype is None else outputs["features"].float()
        domains = torch.as_tensor(batch[self._settings.domain_field]).to(maps.device)
        settings = self._settings
        logits = outputs["cls_outputs"]
        losses = {
            "cross_entropy": lambda: cross_entropy_loss(logits, targets, settings.smoothing),
            "triplet": lambda: triplet_loss(features, targets, settings.margin, False, True),
            "scatter": lambda: scatter_loss(features, domains),
            "shuffle": lambda: shuffle_loss(features, targets, domains),
        }
        return {f"loss_meta_{name}": losses[name]() for name in names}

    def _gradients(self, losses: dict[str, Tensor]) -> list[Tensor]:
        """Compute the gradients of the gates, averaged over all processes."""
        total = sum(losses.values())
        scale = 1.0 if self.grad_scaler is None else self.grad_scaler.get_scale()
        gradients = torch.autograd.grad(total * scale, self._gates)
        joined = torch.cat(gradients).div_(scale)
        if self.grad_scaler is not None:
            # An overflow under loss scaling moves no gate, as it moves no weight.
            joined.nan_to_num_(0.0, 0.0, 0.0)
        joined = sum_over_all(joined) / process_count()
        return list(joined.split([len(gate) for gate in self._gates]))


def inner_factor(iteration: int, cycle: int) -> float:
    """Compute the factor of the inner rate: a triangle between LOWEST and HIGHEST.

    Example:
        >>> [round(inner_factor(step, 4), 4) for step in range(5)]
        [0.0505, 0.1, 0.0505, 0.001, 0.0505]

    Args:
        iteration: number of finished iterations; the cycle is advanced before it is read.
        cycle: iterations of a cycle; 0 = the fixed factor.
    """
    if not cycle:
        return FIXED
    place = (iteration + 1) % cycle
    height = 1 - abs(2 * place / cycle - 1)
    return LOWEST + (HIGHEST - LOWEST) * height


def held_out(
    domains: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Choose the domains that are meta-test in a step."""
    return rng.permutation(np.unique(domains))[:count]


@torch.no_grad()
def move(gates: list[Tensor], gradients: list[Tensor], rate: float) -> None:
    """Move gates against their gradients, in place, and keep them in [0, 1].

    Args:
        gates: gates of each layer.
        gradients: gradients of equal shapes.
        rate: length of the move.
    """
    for gate, gradient in zip(gates, gradients, strict=True):
        gate.sub_(rate * gradient).clamp_(0, 1)


@contextlib.contextmanager
def statistics_held(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation leave its running statistics alone while it uses the batch's."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was_tracked in zip(norms, tracked, strict=True):
            norm.track_running_stats = was_tracked


def part_of(batch: dict[str, Any], rows: NDArray[np.integer]) -> dict[str, Any]:
    """Select rows of every field of a batch."""
    return {name: _rows(values, rows) for name, values in batch.items()}


def _rows(values: Any, rows: NDArray[np.integer]) -> Any:
    if isinstance(values, Tensor):
        return values[torch.from_numpy(rows).to(values.device)]
    return [values[row] for row in rows]
