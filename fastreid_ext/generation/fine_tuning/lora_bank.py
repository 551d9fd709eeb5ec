"""Low-rank adapters of several identities at once on one frozen U-Net.

Letters: K adapters, r rank, B rows of a batch, G groups of rows with one adapter, P parameters of
an adapter. A linear layer W of the U-Net gives, for a row x of the batch whose adapter is k,

    W x + (alpha / r) B_k A_k x,    A_k (r, in), B_k (out, r)                                   [0]

All A and B of an adapter lie in one row of one (K, P) tensor. So an optimizer sees one parameter,
an identity's gradient is a row of its gradient, and a switch of identities is a copy of a few MB.

[0] Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1,
    https://arxiv.org/abs/2106.09685
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fastreid_ext.diffusion.adapted_layers import adapted_layers
from fastreid_ext.diffusion.adapter_files import read_adapter
from fastreid_ext.diffusion.device_transfer import to_device

_NONE = -1  # a row of the batch without an adapter


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Adapters of the rows of the next batch.

    Attributes:
        rows: number of rows B of the batch.
        pairs: A (G, r, in) and B (G, out, r) of each layer, in the U-Net's dtype.
        scales: (G, 1, 1), 0 for rows without an adapter and 1 elsewhere; None if all rows have one.
    """

    rows: int
    pairs: list[tuple[Tensor, Tensor]]
    scales: Tensor | None


class LoraBank:
    """K adapters on the linear layers of a U-Net, by forward hooks.

    Nothing is adapted before :meth:`select`. New adapters are initialised as by peft: A uniform in
    +-1/sqrt(in), B zero, so that they change nothing.

    Args:
        unet: U-Net that gets the hooks; its weights are never written, and :meth:`remove` takes the
            hooks off.
        count: number of adapters K, at least 1.
        rank: rank r of all adapters, at least 1.
        alpha: scale of the adapters times r; their output is multiplied by alpha / r.
        target_modules: names of linear layers, or the ends of their names after a dot.

    Attributes:
        weights: (K, P) float32 parameters of all adapters.

    Example:
        >>> unet = nn.ModuleDict({"to_q": nn.Linear(4, 4)})
        >>> bank = LoraBank(unet, count=2, rank=1, alpha=1.0, target_modules=["to_q"])
        >>> bank.weights.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        unet: nn.Module,
        *,
        count: int,
        rank: int,
        alpha: float,
        target_modules: Sequence[str],
    ) -> None:
        if count < 1 or rank < 1:
            raise ValueError(f"expected at least one adapter of rank 1, got {count} of rank {rank}")
        found = adapted_layers(unet, target_modules)
        self.count = count
        self.rank = rank
        self.alpha = alpha
        self.target_modules = tuple(target_modules)
        # Name of each adapted layer -> shapes of its A and its B.
        self.shapes = {
            name: ((rank, layer.in_features), (layer.out_features, rank))
            for name, layer in found.items()
        }
        parameter = next(unet.parameters())
        self._dtype = parameter.dtype
        self.weights = nn.Parameter(torch.zeros(count, self.size, device=parameter.device))
        self._chosen: _Chosen | None = None
        self._hooks = [
            layer.register_forward_hook(self._hook(index))
            for index, layer in enumerate(found.values())
        ]

    @property
    def size(self) -> int:
        """Number of parameters P of an adapter."""
        return sum(math.prod(a) + math.prod(b) for a, b in self.shapes.values())

    @torch.no_grad()
    def reset(self, k: int, generator: torch.Generator) -> None:
        """Initialise adapter ``k`` with random numbers of a CPU generator."""
        uniform = torch.rand(self.size, generator=generator) * 2 - 1
        self.weights[k] = (uniform * self._bounds()).to(self.weights.device)

    def select(self, rows: Tensor | Sequence[int], *, by_row: bool = False) -> None:
        """Choose the adapter of each row of the next batches.

        In training, call it before each forward pass, because it reads the weights; in sampling,
        once is enough. A batch in which each adapter has equally many consecutive rows is the
        fastest.

        Args:
            rows: adapter of each of the B rows, in [0, K), or -1 for none; on the CPU, so that the
                host does not wait for the GPU.
            by_row: whether each row is computed by itself, so that its result is independent of
                the other rows of the batch to the last bit.
        """
        numbers = rows.tolist() if isinstance(rows, Tensor) else list(rows)
        unknown = sorted({row for row in numbers if not _NONE <= row < self.count})
        if unknown or not numbers:
            raise ValueError(
                f"expected for each row of the batch an adapter in 0..{self.count - 1} or -1 for "
                f"none, got {unknown or 'no rows'}"
            )
        if set(numbers) == {_NONE}:
            self._chosen = None
            return
        groups = numbers if by_row else _groups(numbers)
        scales = None
        if _NONE in groups:
            used = [[[float(k != _NONE)]] for k in groups]
            scales = to_device(torch.tensor(used, dtype=self._dtype), self.weights.device)
        self._chosen = _Chosen(len(numbers), self._pairs(groups), scales)

    def select_none(self) -> None:
        """Switch all adapters off; batches of any size pass."""
        self._chosen = None

    def state_of(self, k: int) -> dict[str, Tensor]:
        """Copy adapter ``k`` to float32 tensors on the CPU under peft's names."""
        parts = self.weights.detach()[k].cpu().clone().split(self._sizes())
        state = {}
        for (name, shapes), a, b in zip(self.shapes.items(), parts[::2], parts[1::2], strict=True):
            state[f"{name}.lora_A.weight"] = a.reshape(shapes[0])
            state[f"{name}.lora_B.weight"] = b.reshape(shapes[1])
        return state

    @torch.no_grad()
    def set_state(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Set adapter ``k`` from a state of :meth:`state_of`.

        Raises:
            ValueError: names or shapes do not fit this bank.
        """
        expected = {
            f"{name}.lora_{letter}.weight": shape
            for name, shapes in self.shapes.items()
            for letter, shape in zip("AB", shapes, strict=True)
        }
        got = {key: tuple(value.shape) for key, value in state.items()}
        if got != expected:
            key = sorted(set(got.items()) ^ set(expected.items()))[0][0]
            raise ValueError(
                f"expected an adapter of rank {self.rank} on {', '.join(self.target_modules)}, got "
                f"'{key}' {got.get(key, 'missing')} instead of {expected.get(key, 'nothing')}; set "
                "GENERATION.FINE_TUNING.RANK and TARGET_MODULES to those it was trained with"
            )
        self.weights[k] = torch.cat([state[key].flatten().float() for key in expected]).to(
            self.weights.device
        )

    def load(self, k: int, folder: Path) -> None:
        """Read adapter ``k`` from the folder of an identity.

        Raises:
            FileNotFoundError: the folder has no adapter.
            ValueError: the adapter has another rank, scale or other layers than the bank.
        """
        state, alpha = read_adapter(folder)
        if alpha is not None and alpha != self.alpha:
            raise ValueError(
                f"expected an adapter with alpha {self.alpha:g} in {folder}, got {alpha:g}; set "
                "GENERATION.FINE_TUNING.ALPHA to that it was trained with"
            )
        self.set_state(k, state)

    def remove(self) -> None:
        """Take the hooks off, which restores the U-Net."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._chosen = None

    def _sizes(self) -> list[int]:
        return [math.prod(shape) for shapes in self.shapes.values() for shape in shapes]

    def _bounds(self) -> Tensor:
        """Return the bounds (P,) of the uniform initial values of an adapter."""
        parts = []
        for a, b in self.shapes.values():
            parts += [torch.full((math.prod(a),), a[1] ** -0.5), torch.zeros(math.prod(b))]
        return torch.cat(parts)

    def _pairs(self, groups: list[int]) -> list[tuple[Tensor, Tensor]]:
        """View the A and B of each layer for the groups, in the U-Net's dtype."""
        weights = self.weights
        if groups != list(range(self.count)):
            index = to_device(torch.tensor(groups).clamp_min(0), weights.device)
            weights = weights.index_select(0, index)
        # split and not slices: its gradient is one concatenation, not a sum of padded copies.
        parts = weights.to(self._dtype).split(self._sizes(), dim=1)
        return [
            (a.view(-1, *shapes[0]), b.view(-1, *shapes[1]))
            for shapes, a, b in zip(self.shapes.values(), parts[::2], parts[1::2], strict=True)
        ]

    def _hook(self, index: int) -> Callable[..., Tensor | None]:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return None if self._chosen is None else self._adapted(index, inputs[0], output)

        return add

    def _adapted(self, index: int, x: Tensor, output: Tensor) -> Tensor:
        """Add the adapters to a layer's ``output`` (B, ..., out) for ``x`` (B, ..., in)."""
        chosen = self._chosen
        if x.shape[0] != chosen.rows:
            raise ValueError(
                f"expected a batch of the {chosen.rows} rows that were selected, got {x.shape[0]}; "
                "call select with the adapter of each row, of both halves under guidance"
            )
        a, b = chosen.pairs[index]
        hidden = x.reshape(len(a), -1, x.shape[-1]) @ a.transpose(1, 2)  # (G, B/G * ..., r)
        if chosen.scales is not None:
            hidden = hidden * chosen.scales
        grouped = output.reshape(len(a), -1, output.shape[-1])
        adapted = torch.baddbmm(grouped, hidden, b.transpose(1, 2), alpha=self.alpha / self.rank)
        return adapted.view_as(output)


def _groups(rows: list[int]) -> list[int]:
    """Group rows into runs of one adapter if all runs are equally long; otherwise keep the rows."""
    starts = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1]]
    lengths = {end - start for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)}
    return [rows[start] for start in starts] if len(lengths) == 1 else rows
