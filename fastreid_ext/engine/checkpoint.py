"""Checkpoints that are whole or absent, and that refuse to load what does not fit.

Same files and names as fastreid's ``Checkpointer`` (``model_0004.pth``, ``model_best.pth``,
``model_final.pth``, ``last_checkpoint``), readable with ``torch.load(weights_only=True)``.

Where a model has parts that are only for training, the checkpoint holds neither them nor the state
of the optimizer, but names a second file that does, ``model_0004.<iterations>.training.pt``.
Evaluation does not need it.
"""

import logging
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.utils.checkpoint import Checkpointer

from fastreid_ext.atomic import atomic_write, atomic_write_text
from fastreid_ext.engine.saved_weights import (
    load_training_weights,
    saved_weights,
    training_weights,
)
from fastreid_ext.modeling.batch_instance_norm import with_instance_norms
from fastreid_ext.modeling.domain_batch_norm import with_copies
from fastreid_ext.modeling.pretrained.files import (
    pickle_problem,
    refuse_other_content,
    unwrapped_names,
)
from fastreid_ext.modeling.pretrained.matching import Matching, match
from fastreid_ext.modeling.pretrained.older_zoo import current_names

logger = logging.getLogger(__name__)

TAG = "last_checkpoint"  # file that names the checkpoint to resume from
TRAINING_SUFFIX = ".training.pt"  # of the file with what only a resumed run needs
_TRAINING_FILE = "training_file"  # key of its name in the checkpoint

_BACKBONE_ALONE = "weights of a backbone alone belong in MODEL.BACKBONE.PRETRAIN_PATH"


class AtomicCheckpointer(Checkpointer):
    """fastreid's checkpointer with atomic writing and strict reading.

    Modules that a model leaves out (:mod:`fastreid_ext.engine.saved_weights`) are neither written
    nor read, so they stay as they were built. Those that are only for training, and the state of
    the optimizer with them, have a file of their own beside each checkpoint to resume from.

    Args:
        model: the model, wrapped by DDP or not.
        save_dir: folder that holds the checkpoints.
        min_matched: share in [0, 1] of the model's tensors that a file given as ``MODEL.WEIGHTS``
            must hold. Resuming always needs all of them.
        save_to_disk: False on all processes but one.
        checkpointables: objects with ``state_dict`` and ``load_state_dict``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        min_matched: float = 0.9,
        save_to_disk: bool = True,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.min_matched = min_matched
        self.left_as_built: list[str] = []  # tensors of the model that the last file did not bring
        self.logger = logger

    def save(self, name: str, *, tag: bool = True, **extra: Any) -> None:
        """Write ``<name>.pth``; afterwards, if ``tag``, make it the one to resume from.

        Raises:
            FloatingPointError: a weight is NaN or infinite; nothing is written.
            OSError: the file could not be written; earlier checkpoints are as they were.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        weights = saved_weights(self.model)
        apart = training_weights(self.model)
        self._refuse_non_finite({**weights, **apart})
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", path)
        if apart and tag:
            # A name for each iteration: until the checkpoint is replaced, its old file stays.
            companion = path.with_suffix(f".{extra.get('iteration', 0)}{TRAINING_SUFFIX}")
            self._write(companion, {"model": apart, **states})
            extra[_TRAINING_FILE] = companion.name
        self._write(path, {"model": weights, **({} if apart else states), **extra})
        if tag:
            self._write_tag(path)
            self._remove_companions(name, but=extra.get(_TRAINING_FILE))

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        try:
            with atomic_write(path) as file:
                torch.save(dict(content), file)
        except (OSError, RuntimeError) as error:  # torch wraps the OSError of a full disk
            raise self._could_not_save(path, error) from error

    def _write_tag(self, path: Path) -> None:
        try:
            atomic_write_text(path.with_name(TAG), path.name)
        except OSError as error:
            raise self._could_not_save(path, error) from error

    def _remove_companions(self, name: str, but: str | None = None) -> None:
        for path in Path(self.save_dir).glob(f"{name}.*{TRAINING_SUFFIX}"):
            if path.name != but:
                path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Delete ``<name>.pth`` if it is there."""
        if self.save_dir and self.save_to_disk:
            (Path(self.save_dir) / f"{name}.pth").unlink(missing_ok=True)
            self._remove_companions(name)

    def resume(self) -> dict[str, Any]:
        """Load everything from the checkpoint that ``last_checkpoint`` names.

        Returns:
            What the file holds beside the model and the checkpointables.

        Raises:
            FileNotFoundError: the checkpoint or the file beside it is missing.
            ValueError: a file is damaged or of another model.
        """
        path = Path(self.get_checkpoint_file())
        checkpoint = read_checkpoint(path)
        states = read_training_file(path, checkpoint)
        if checkpoint.pop(_TRAINING_FILE, None):
            load_training_weights(self.model, states.pop("model"))
            checkpoint |= states
        return self._take(str(path), checkpoint, list(self.checkpointables), min_matched=1.0)

    def load(self, path: str, checkpointables: Sequence[str] | None = None) -> dict[str, Any]:
        """Load weights (and the named checkpointables, None = all) from a file; "" loads nothing.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or fewer than ``min_matched`` of the tensors match.
        """
        if not path:
            self.logger.info("MODEL.WEIGHTS is empty: the model starts as it was built")
            return {}
        keys = list(self.checkpointables) if checkpointables is None else list(checkpointables)
        return self._take(path, read_checkpoint(path), keys, min_matched=self.min_matched)

    def _take(
        self, path: str, checkpoint: dict[str, Any], keys: list[str], *, min_matched: float
    ) -> dict[str, Any]:
        """Take weights and states out of the content of a file; the rest is returned."""
        matching = self._load_weights(path, checkpoint.pop("model"), min_matched)
        self.logger.info("Loaded weights from %s: %s", path, matching)
        for key in keys:
            if key not in checkpoint:
                self.logger.warning("%s holds no %s, which starts from its beginning", path, key)
                continue
            try:
                self.checkpointables[key].load_state_dict(checkpoint.pop(key))
            except (ValueError, KeyError, RuntimeError) as error:
                raise ValueError(
                    f"the {key} of {path} does not fit this run ({error}); were SOLVER keys or "
                    "MODEL.FREEZE_LAYERS changed? Put them back, or give the file as "
                    "MODEL.WEIGHTS to a new run without --resume"
                ) from error
        return checkpoint

    def _load_weights(
        self, path: str, weights: dict[str, torch.Tensor], min_matched: float
    ) -> Matching:
        self._convert_ndarray_to_tensor(weights)
        weights = unwrapped_names(weights)
        if hasattr(self.model, "complete_weights"):  # a teacher that begins as its student
            weights = self.model.complete_weights(weights)
        older = current_names(weights, saved_weights(self.model))
        if older:
            self.logger.info(
                "%s has names of the older model zoo: %s",
                path,
                ", ".join(f"{name} -> {today}" for name, today in older.items()),
            )
            weights = {older.get(name, name): value for name, value in weights.items()}
        is_resume = min_matched == 1.0
        if not is_resume:
            weights = with_copies(self.model, weights)
            weights = with_instance_norms(self.model, weights)
        matching = match(saved_weights(self.model), weights)
        if matching.share < min_matched or (is_resume and matching.classifiers):
            advice = (
                "resume with the MODEL keys of the config.yaml beside it, or train in another "
                "OUTPUT_DIR"
                if is_resume
                else "check the MODEL keys of the configuration, choose another file, or lower "
                "MODEL.MIN_WEIGHTS_MATCHED if only a part should be loaded"
            )
            raise ValueError(
                f"{path} is not a checkpoint of this model: expected at least {min_matched:.0%} of "
                f"the model's tensors in it, got {matching.share:.0%}: {matching}; {advice}"
            )
        fitting = {name: weights[name] for name in matching.matched}
        # Steps of batch normalisation are counted, never read.
        self.left_as_built = sorted(
            name
            for name in saved_weights(self.model).keys() - fitting.keys()
            if not name.endswith(".num_batches_tracked")
        )
        self.model.load_state_dict(fitting, strict=False)
        return matching

    def _refuse_non_finite(self, weights: Mapping[str, torch.Tensor]) -> None:
        bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if bad:
            raise FloatingPointError(
                f"{len(bad)} tensors of the model hold NaN or infinite values ({', '.join(bad[:4])}"
                f"); no checkpoint written, the last good one is {self._last_good()}; lower "
                "SOLVER.BASE_LR, clip gradients, or turn SOLVER.AMP off"
            )

    def _could_not_save(self, path: Path, error: Exception) -> OSError:
        reason = error if isinstance(error, OSError) else error.__context__ or error
        free = shutil.disk_usage(path.parent).free / 2**20
        message = (
            f"could not write checkpoint {path}: {getattr(reason, 'strerror', None) or reason} "
            f"({free:.0f} MiB free now that the unfinished file is removed). Last whole "
            f"checkpoint: {self._last_good()}. Free space, then continue with --resume"
        )
        number = getattr(reason, "errno", None)
        return OSError(number, message) if number else OSError(message)

    def _last_good(self) -> str:
        return self.get_checkpoint_file() if self.has_checkpoint() else "none yet"


def read_checkpoint(path: str | Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running code from the file.

    Args:
        path: a file written by fastreid or by us, whose key ``model`` holds the weights.
        lazily: map the file instead of reading it, to look at small things in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, is no checkpoint, could run code, or lacks the key
            ``model``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}; give an existing file in MODEL.WEIGHTS, or in {TAG} where a "
            "run is to be resumed"
        )
    with path.open("rb") as file:
        start = file.read(512)
    refuse_other_content(path, start)
    if start[8:9] == b"{":
        raise ValueError(
            f"expected a checkpoint written by torch.save, got a safetensors file: {path}; "
            f"{_BACKBONE_ALONE}"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # read or refused
            mapped = (lazily and zipfile.is_zipfile(path)) or None  # torch's old format cannot be
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ValueError(pickle_problem(path, error)) from error
    except Exception as error:  # torch raises five kinds of error for damaged files
        raise ValueError(
            f"cannot read checkpoint {path} ({os.path.getsize(path)} bytes): "
            f"{str(error).splitlines()[0].rstrip('.')}. Is it cut off, or not written by "
            f"torch.save? Whole checkpoints in that folder: {_others(path)}"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), dict):
        found = sorted(map(str, checkpoint))[:6] if isinstance(checkpoint, dict) else checkpoint
        raise ValueError(
            f"expected a checkpoint with the weights under the key 'model' in {path}, got "
            f"{found if isinstance(found, list) else type(found).__name__}; {_BACKBONE_ALONE}"
        )
    return checkpoint


def read_training_file(path: str | Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Read the file beside a checkpoint that holds what is only for training.

    Args:
        path: file of the checkpoint, for the folder.
        checkpoint: content of that file, from :func:`read_checkpoint`.

    Returns:
        Weights under ``model``, and states; {} where the model has no part only for training.

    Raises:
        FileNotFoundError: the checkpoint names a file that is not beside it.
        ValueError: the file is damaged, as :func:`read_checkpoint` says.
    """
    if _TRAINING_FILE not in checkpoint:
        return {}
    companion = Path(path).with_name(checkpoint[_TRAINING_FILE])
    if not companion.is_file():
        raise FileNotFoundError(
            f"expected {companion.name} beside {path}, with the optimizer and the parts that are "
            "only for training, got no such file; bring it back, or give the checkpoint as "
            "MODEL.WEIGHTS to a new run without --resume"
        )
    return read_checkpoint(companion)


def _others(path: Path) -> str:
    """Name the checkpoints beside ``path`` that end like a whole file, newest first."""
    others = [
        other for other in path.parent.glob("*.pth") if other != path and zipfile.is_zipfile(other)
    ]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    return ", ".join(other.name for other in others) or "none"
