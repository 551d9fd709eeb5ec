"""Batch normalisation with statistics and parameters of its own for each domain of a batch.

A batch in training is [source; target] or [source; target; mixed] in equal parts. Each part is
normalised by itself, in groups of ``MODEL.BN_GROUP`` images. In evaluation every image is one of
the target. The target's tensors keep the names of the plain layer, so that a checkpoint serves a
plain model too; those of the others are below ``source`` and ``mixed``.

Letters: B batch, C channels, K domains (2 or 3).

[0] Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object
    Re-ID", NeurIPS 2020, https://arxiv.org/abs/2006.02713 (domain-specific statistics)
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.modeling.grouped_batch_norm import GroupedBatchNorm, is_plain

_OTHERS = ("source", "mixed")  # parts of a batch beside the target


class DomainBatchNorm(GroupedBatchNorm):
    """Batch normalisation of the target, with a copy for each other domain.

    Attributes:
        source: normalisation of the first part of a batch.
        mixed: normalisation of the third part, with three domains.

    Example:
        >>> norm = DomainBatchNorm.separated(nn.BatchNorm1d(1), domains=2, group=0)
        >>> norm(torch.tensor([[0.0], [2.0], [100.0], [102.0]])).flatten().round().tolist()
        [-1.0, 1.0, -1.0, 1.0]
        >>> norm.source.running_mean.item() < norm.running_mean.item()
        True

    Args:
        channels: number C of channels.
        group: images of a domain that share their statistics; 0 = all of the part.
        settings: keyword arguments of torch's batch normalisation, such as ``eps``.
    """

    @classmethod
    def separated(cls, norm: _BatchNorm, *, domains: int, group: int) -> "DomainBatchNorm":
        """Build it from a plain layer, whose tensors become the target's and are copied.

        Args:
            norm: plain batch normalisation of any number of axes.
            domains: number K of parts of a batch.
            group: images of a domain that share their statistics; 0 = all of the part.
        """
        separated = cls.from_batch_norm(norm, group)
        for name in _OTHERS[: domains - 1]:
            separated.add_module(name, copy.deepcopy(GroupedBatchNorm.from_batch_norm(norm, group)))
        return separated

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, ...), in training each part of the batch by itself.

        Raises:
            ValueError: in training, B is no multiple of K.
        """
        if not self.training:
            return super().forward(features)
        others = [getattr(self, name) for name in _OTHERS if hasattr(self, name)]
        domains = len(others) + 1
        if len(features) % domains:
            raise ValueError(
                f"expected a batch of {domains} equal parts, one for each domain, got "
                f"{len(features)} images; train on batches of DATASETS.SOURCES and NAMES"
            )
        source, target, *mixed = features.split(len(features) // domains)
        normalised = [others[0](source), super().forward(target)]
        normalised += [norm(part) for norm, part in zip(others[1:], mixed, strict=True)]
        return torch.cat(normalised)


def separate_domains(
    model: nn.Module, *, group: int, domains_of: Callable[[str], int] = lambda name: 2
) -> None:
    """Replace every batch normalisation of a model, in place.

    Frozen parameters, such as the bias of fastreid's neck, are frozen in all copies.

    Args:
        model: model with plain batch normalisation, with its weights loaded or not: see
            :func:`with_copies`.
        group: images of a domain that share their statistics; 0 = all of them.
        domains_of: function from the name of a layer to the number of domains that it sees.

    Raises:
        ValueError: the model has no batch normalisation, or of another kind.
    """
    found = 0
    for path, parent in list(model.named_modules()):
        for name, child in parent.named_children():
            if is_plain(child, "MODEL.DOMAIN_BN.ENABLED"):
                full = f"{path}.{name}".lstrip(".")
                norm = DomainBatchNorm.separated(child, domains=domains_of(full), group=group)
                setattr(parent, name, norm)
                found += 1
    if not found:
        raise ValueError(
            "expected a model with batch normalisation for MODEL.DOMAIN_BN.ENABLED, got one "
            "without; set it to False, or take a backbone with batch normalisation"
        )


def train_biases(part: nn.Module) -> None:
    """Let the biases of all batch normalisation of a part of a model be trained."""
    for module in part.modules():
        if isinstance(module, _BatchNorm):
            module.bias.requires_grad_(True)


def with_copies(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Complete the weights of a plain model: those of the other domains begin as the target's.

    Args:
        model: model whose domains are separated, or any other.
        weights: tensors of a file by their names.

    Returns:
        The weights, with an entry for each copy that the file does not have.
    """
    completed = dict(weights)
    for path, module in model.named_modules():
        if not isinstance(module, DomainBatchNorm):
            continue
        for other in _OTHERS:
            for name in dict(getattr(module, other, nn.Identity()).state_dict()):
                plain = weights.get(f"{path}.{name}")
                if plain is not None:
                    completed.setdefault(f"{path}.{other}.{name}", plain)
    return completed
