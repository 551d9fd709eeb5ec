"""State other than weights and optimizer that makes resuming exact.

- the state of every random generator, of every process (dropout and the like sample from them);
- how many steps fastreid's optimizer has kept layers frozen (it counts in a closure);
- which run it was (seed, processes, batch), to say so when a resumed run cannot be exact.

The sampler's position needs no state: it follows from the iteration.
"""

import dataclasses
import hashlib
import inspect
import logging
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch.utils.data import Dataset

from fastreid_ext.data.dataset import PersonDataset

logger = logging.getLogger(__name__)


def capture_random_state() -> dict[str, Any]:
    """Return the state of this process's generators, as types that ``weights_only`` can load."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  the host's
    state = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`capture_random_state` returned."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class FreezeCounter:
    """The number of steps for which fastreid's optimizer has kept ``MODEL.FREEZE_LAYERS`` frozen.

    fastreid counts in a closure of ``Optimizer.step``, so that without this a resumed run would
    freeze the layers once more.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._cell = _closure_cell(optimizer, "cnt")

    @staticmethod
    def exists_in(optimizer: torch.optim.Optimizer) -> bool:
        """Whether this optimizer freezes layers."""
        return "cnt" in inspect.unwrap(type(optimizer).step).__code__.co_freevars

    def state_dict(self) -> dict[str, int]:
        """Return the count."""
        return {"steps": self._cell.cell_contents}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Set the count."""
        self._cell.cell_contents = state["steps"]


def _closure_cell(optimizer: torch.optim.Optimizer, name: str) -> Any:
    step = inspect.unwrap(type(optimizer).step)  # below torch's profiling and no_grad wrappers
    return step.__closure__[step.__code__.co_freevars.index(name)]


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """Facts that must be equal for a resumed run to continue exactly."""

    seed: int
    processes: int
    images_per_batch: int
    iterations_per_epoch: int
    training_data: str  # DATASETS.SOURCES, NAMES and SUBSET
    labels: str = ""  # "48 images of 8 identities, <hash>", wherever they lie; "" = not known

    @classmethod
    def of(
        cls, cfg: CfgNode, iterations_per_epoch: int, dataset: Dataset | None = None
    ) -> "RunIdentity":
        """Describe the run of this process group.

        Args:
            cfg: configuration of this run.
            iterations_per_epoch: number of training steps in an epoch.
            dataset: training images, whose labels are described; None = not known.
        """
        data = " ".join([*cfg.DATASETS.SOURCES, *cfg.DATASETS.NAMES, cfg.DATASETS.SUBSET]).strip()
        return cls(
            cfg.SEED,
            comm.get_world_size(),
            cfg.SOLVER.IMS_PER_BATCH,
            iterations_per_epoch,
            data,
            _labels_of(dataset),
        )

    def warn_about_differences(self, checkpoint: Mapping[str, Any] | None) -> None:
        """Say which values of the checkpoint's run differ from this one's."""
        if checkpoint is None:
            logger.warning("this checkpoint was not written by fastreid_ext: resuming is not exact")
            return
        for name, now in dataclasses.asdict(self).items():
            if checkpoint.get(name, now) != now:  # an older checkpoint may lack a value
                logger.warning(
                    "resuming is not exact: the checkpoint's run had %s = %s, this one %s",
                    name,
                    checkpoint.get(name),
                    now,
                )


def _labels_of(dataset: Dataset | None) -> str:
    """Describe the labels of a ``PersonDataset``; return "" for a data set of another kind."""
    if not isinstance(dataset, PersonDataset):
        return ""
    hashed = hashlib.sha256()
    for codes, names in ((dataset.targets, dataset.pids), (dataset.camids, dataset.cams)):
        hashed.update(np.ascontiguousarray(codes, dtype="<i8"))
        for name in names:
            hashed.update(f"{name}\n".encode("utf-8", "surrogateescape"))
    digest = hashed.hexdigest()[:16]
    return f"{len(dataset)} images of {dataset.num_classes} identities, {digest}"
