"""Stage 4: fine-tune the base model for each identity.

Read from the top: :func:`fine_tune` is the stage, :class:`FineTuningWork` is done for each group of
identities, and below it is what an identity is fine-tuned from.
"""

import functools
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fastreid_ext.atomic import whole_folder
from fastreid_ext.diffusion.adapter_files import is_fine_tuned, read_training
from fastreid_ext.generation.fine_tuning import dreambooth
from fastreid_ext.generation.fine_tuning.fine_tuned_files import fine_tuned_bytes, write_fine_tuned
from fastreid_ext.generation.fine_tuning.full_fine_tuning import FullFineTuner
from fastreid_ext.generation.fine_tuning.settings import (
    Failure,
    FineTuned,
    FineTuneTask,
    FineTuningSettings,
)
from fastreid_ext.generation.identities.identity_list import load_images
from fastreid_ext.generation.identities.source_identities import source_folder
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.runs.stage import FINE_TUNE, StageReport, reason_of, run_stage
from fastreid_ext.generation.sampling.image_files import resize_image
from fastreid_ext.generation.sampling.reference_set import (
    is_reference_set,
    read_reference_set,
    read_settings,
)
from fastreid_ext.generation.stages.job import Job

_SETS_IN_MEMORY = 8  # reference sets whose latents are kept for the next identities


def fine_tune(job: Job, names: Sequence[str]) -> StageReport:
    """Fine-tune the base model for this worker's identities, and write ``adapters/<identity>``.

    Args:
        job: job whose captions, and reference sets if it uses them, are made.
        names: identities of all workers, in the same order for all.

    Raises:
        FileNotFoundError: the reference set of an identity is missing.
    """
    layout = job.layout
    for name in names:
        cluster = job.clusters.get(name)
        if cluster is not None and not is_reference_set(layout.reference_set(cluster)):
            raise FileNotFoundError(
                f"{name} has no reference set in {layout.reference_set(cluster)}; run "
                "tools/generate_persons.py reference first, or set "
                "GENERATION.REFERENCE_SET.IMAGES 0"
            )
    return run_stage(
        names,
        lambda: FineTuningWork(job),
        lambda name: is_fine_tuned(layout.adapter(name)) or not job.needs_fine_tuning(name),
        stage=FINE_TUNE,
        worker=job.worker,
        together=fine_tuned_together(job),
        bytes_each=fine_tuned_bytes(job.cfg),
    )


def fine_tuned_together(job: Job) -> int:
    """Count the identities of a group: one for METHOD full, since two whole U-Nets do not fit.

    Args:
        job: job whose method of fine-tuning decides.
    """
    tuning = job.cfg.GENERATION.FINE_TUNING
    return 1 if tuning.METHOD == "full" else tuning.IDENTITIES_AT_ONCE


class FineTuningWork:
    """Fine-tune groups of identities and write their weights.

    Args:
        job: job whose captions, and reference sets if it uses them, are made.
        in_memory: filled with the weights of METHOD full by identity, which then are not written
            to the disk; None to write them.
    """

    def __init__(self, job: Job, in_memory: dict[str, FineTuned] | None = None) -> None:
        self._job = job
        self._base = job.base
        self._in_memory = in_memory
        self._settings = FineTuningSettings.from_config(job.cfg)
        self._full = None
        if self._settings.method == "full":
            self._full = FullFineTuner(self._base, self._settings)
        # A data set that cannot be opened stops the stage here and is no identity's failure.
        data_sets = {identity.source_dataset for identity in job.identities.values()}
        self._roots = {name: source_folder(job.cfg, name) for name in data_sets}
        # Identities of one cluster share the tensors, so that the device holds them once.
        self._read_cached = functools.lru_cache(maxsize=_SETS_IN_MEMORY)(self._read_reference_set)

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        """Fine-tune those of a group that have no weights of this base model yet.

        Args:
            names: names of the identities of the group.

        Returns:
            Reason of each identity that failed, by name.
        """
        reasons: dict[str, str] = {}
        tasks: list[FineTuneTask] = []
        for name in names:
            if self._is_fine_tuned(name):
                continue
            try:
                tasks.append(self._task(name))
            except (OSError, ValueError) as error:
                # A damaged image so leaves the other identities together in one batch.
                reasons[name] = reason_of(error)
        for result in self._fine_tune(tasks):
            if isinstance(result, Failure):
                reasons[result.name] = result.reason
            else:
                self._keep(result)
        return reasons

    def _is_fine_tuned(self, name: str) -> bool:
        folder = self._job.layout.adapter(name)
        if not is_fine_tuned(folder):
            return False
        trained_on = read_training(folder).get("base")
        if trained_on != self._base.name:
            raise ValueError(
                f"the adapter in {folder} was trained on {trained_on}, the base model is "
                f"{self._base.name} now; remove the folder, or choose another OUTPUT_DIR"
            )
        return True

    def _task(self, name: str) -> FineTuneTask:
        """Read what an identity is fine-tuned from: real images, prompts, reference set."""
        cfg = self._job.cfg
        identity = self._job.identities[name]
        prompts = self._job.prompts[name]
        cluster = self._job.clusters.get(name)
        reference_prompt = prompts.reference
        reference_latents = None
        if cluster is not None:
            reference_prompt, reference_latents = self._read_cached(cluster)
        images = load_images(identity, self._roots[identity.source_dataset])
        size = tuple(cfg.GENERATION.SIZE)
        return FineTuneTask(
            name=name,
            images=training_images(images, size, cfg.GENERATION.SAMPLING.RESIZE_MODE),
            prompt=prompts.identity,
            reference_prompt=reference_prompt,
            reference_latents=reference_latents,
            seed=seed_of(cfg.SEED, "fine-tuning", name),
        )

    def _read_reference_set(self, cluster: str) -> tuple[str, tuple[Tensor, Tensor]]:
        """Read the prompt that a reference set was generated from, and its latents."""
        found = read_reference_set(self._job.layout.reference_set(cluster))
        made = read_settings(found.folder)
        base = self._base.name
        # The name of a model with FEW_STEP_ADAPTER goes on with "+" and the adapter.
        if made["model"] != base and not made["model"].startswith(f"{base}+"):
            raise ValueError(
                f"the reference set in {found.folder} was generated by {made['model']}, the base "
                f"model is {base} now; remove reference_sets, or choose another OUTPUT_DIR"
            )
        return made["prompt"], (found.mean, found.std)

    def _fine_tune(self, tasks: Sequence[FineTuneTask]) -> Iterator[FineTuned | Failure]:
        """Fine-tune all adapters in shared batches, but whole U-Nets one after the other."""
        if self._full is not None:
            for task in tasks:
                with self._progress() as bar:
                    result = self._full.fine_tune(task, functools.partial(_show_step, bar))
                yield result
        elif tasks:
            with self._progress() as bar:
                show = functools.partial(_show_step, bar)
                results = dreambooth.fine_tune(self._base, tasks, self._settings, show)
            yield from results

    def _progress(self) -> tqdm:
        return progress_bar("  fine-tuning", self._settings.steps, "step", inner=True)

    def _keep(self, tuned: FineTuned) -> None:
        layout = self._job.layout
        writes_modules = self._in_memory is None
        with whole_folder(layout.adapter(tuned.name), layout.output) as folder:
            write_fine_tuned(folder, tuned, self._base, self._settings, with_modules=writes_modules)
        if self._in_memory is not None and tuned.unet is not None:
            self._in_memory[tuned.name] = tuned


def training_images(images: Sequence[NDArray[np.uint8]], size: tuple[int, int], fit: str) -> Tensor:
    """Resize real images to the size of the model.

    Args:
        images: N images (h, w, 3) uint8 RGB of any sizes.
        size: height and width of ``GENERATION.SIZE`` in pixels.
        fit: value of ``SAMPLING.RESIZE_MODE``. "resize": a generated image is stretched to the
            size of the files, so these are stretched to ``size``. "crop": a generated image is cut
            to the aspect of the files around its centre, so these keep their aspect, and their
            edges are repeated around them.

    Returns:
        Images (N, 3, H, W) uint8 RGB.
    """
    resized = []
    for image in images:
        whole = image if fit == "resize" else _with_edges(image, size)
        resized.append(resize_image(whole, size, "resize"))
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


def _with_edges(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pad an image to the aspect of ``size`` by repeating its edges."""
    height, width = image.shape[:2]
    rows = max(0, round(width * size[0] / size[1]) - height)
    columns = max(0, round(height * size[1] / size[0]) - width)
    borders = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return cv2.copyMakeBorder(image, *borders, cv2.BORDER_REPLICATE)


def _show_step(bar: tqdm, step: int, losses: Sequence[float]) -> None:
    bar.set_postfix_str(f"loss {sum(losses) / len(losses):.4f}", refresh=False)
    bar.update(step - bar.n)
