"""Stage 4 of a job, fine-tuning, as work that :func:`.job.stage.run_stage` gives out."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fastreid_ext.atomic import whole_folder
from fastreid_ext.diffusion.adapter_files import is_trained, read_training
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.fine_tuning.dreambooth import fine_tune
from fastreid_ext.generation.fine_tuning.fine_tuned_files import write_tuned
from fastreid_ext.generation.fine_tuning.full_fine_tuning import FullFineTuner
from fastreid_ext.generation.fine_tuning.settings import (
    Failure,
    FineTuned,
    FineTuneTask,
    FineTuningSettings,
)
from fastreid_ext.generation.identities.identity_list import Identity, load_images
from fastreid_ext.generation.identities.source_identities import source_folder
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.runs.stage import Work, reason_of
from fastreid_ext.generation.sampling.image_files import fitted
from fastreid_ext.generation.sampling.reference_set import read_reference_set, read_settings


def tuning_work(
    cfg: CfgNode,
    base: StableDiffusion,
    people: Mapping[str, Identity],
    prompts: Mapping[str, Prompts],
    clusters: Mapping[str, str],
    layout: Layout,
    in_memory: dict[str, FineTuned] | None = None,
) -> Work:
    """Return what learns persons; those who are learned already are left as they are.

    Args:
        cfg: ``SEED``, ``GENERATION``, and ``DATASETS`` for the images.
        base: the frozen model; afterwards what it was.
        people: name -> person.
        prompts: name -> prompts with and without the identity token.
        clusters: name -> reference set; one without is learned without prior preservation.
        layout: of the job; the reference sets are in place.
        in_memory: gets the identities learned by METHOD full, whose weights then are not written;
            None: they are.
    """
    settings = FineTuningSettings.from_config(cfg)
    tasks = _Tasks(cfg, base.name, people, prompts, clusters, layout)
    full = FullFineTuner(base, settings) if settings.method == "full" else None

    def work(names: Sequence[str]) -> dict[str, str]:
        missing = [name for name in names if not _is_learned(layout.adapter(name), base)]
        wanted, reasons = tasks.of_all(missing)
        # Whole U-Nets are learned one by one: they would not all fit.
        groups = [[task] for task in wanted] if full else [wanted] if wanted else []
        for group in groups:
            with progress_bar("  learning", settings.steps, "step", inner=True) as bar:
                told = functools.partial(_move, bar)
                if full:
                    results = [full.learn(group[0], told)]
                else:
                    results = fine_tune(base, group, settings, told)
            for result in results:
                if isinstance(result, Failure):
                    reasons[result.name] = result.reason
                    continue
                with whole_folder(layout.adapter(result.name), layout.output) as folder:
                    write_tuned(folder, result, base, settings, with_modules=in_memory is None)
                if in_memory is not None and result.unet is not None:
                    in_memory[result.name] = result
        return reasons

    return work


@dataclasses.dataclass(frozen=True)
class _Tasks:
    """Puts together what a person is learned from."""

    cfg: CfgNode
    base: str  # name of the base model
    people: Mapping[str, Identity]
    prompts: Mapping[str, Prompts]
    clusters: Mapping[str, str]
    layout: Layout

    def __post_init__(self) -> None:
        # Persons of one cluster share the tensors, so that they lie on the device once.
        object.__setattr__(self, "_reference", functools.lru_cache(maxsize=8)(self._read))
        # Here, where a data set that cannot be opened stops the stage and is no person's failure.
        names = {person.source_dataset for person in self.people.values()}
        object.__setattr__(self, "_roots", {name: source_folder(self.cfg, name) for name in names})

    def of_all(self, names: Sequence[str]) -> tuple[list[FineTuneTask], dict[str, str]]:
        """Return the tasks of some identities, and a reason for each that has none.

        An identity with a damaged image so leaves the others of its group in one batch.
        """
        tasks, reasons = [], {}
        for name in names:
            try:
                tasks.append(self.of(name))
            except (OSError, ValueError) as error:
                reasons[name] = reason_of(error)
        return tasks, reasons

    def of(self, name: str) -> FineTuneTask:
        person, generation = self.people[name], self.cfg.GENERATION
        prompt, latents = self.prompts[name].reference, None
        if name in self.clusters:
            prompt, latents = self._reference(self.clusters[name])
        images = load_images(person, self._roots[person.source_dataset])
        return FineTuneTask(
            name=name,
            images=training_images(images, tuple(generation.SIZE), generation.SAMPLING.RESIZE_MODE),
            prompt=self.prompts[name].identity,
            reference_prompt=prompt,
            reference_latents=latents,
            seed=seed_of(self.cfg.SEED, "fine-tuning", name),
        )

    def _read(self, cluster: str) -> tuple[str, tuple[Tensor, Tensor]]:
        """Return the prompt that a reference set was drawn from, and its latents."""
        found = read_reference_set(self.layout.reference_set(cluster))
        made = read_settings(found.folder)
        # With FEW_STEP_ADAPTER "+" and the adapter follow.
        if made["model"] != self.base and not made["model"].startswith(f"{self.base}+"):
            raise ValueError(
                f"the reference set in {found.folder} was drawn by {made['model']}, the base model "
                f"is {self.base} now; remove reference_sets, or choose another OUTPUT_DIR"
            )
        return made["prompt"], (found.mean, found.std)


def training_images(images: Sequence[NDArray[np.uint8]], size: tuple[int, int], fit: str) -> Tensor:
    """Return images as the model is to draw them, (N, 3, H, W) uint8.

    Args:
        images: (h, w, 3) RGB of any sizes.
        size: H, W of ``GENERATION.SIZE``.
        fit: ``SAMPLING.RESIZE_MODE``. "resize": a generated image is stretched to the size of the
            files, so these are stretched to ``size``. "crop": a generated image is cut to the
            aspect of the files around its centre, so these keep their aspect, and their edges are
            repeated around them.
    """
    resized = [
        fitted(image if fit == "resize" else _with_edges(image, size), size, "resize")
        for image in images
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


def _with_edges(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image in the middle of one with the aspect of ``size``."""
    height, width = image.shape[:2]
    rows = max(0, round(width * size[0] / size[1]) - height)
    columns = max(0, round(height * size[1] / size[0]) - width)
    before = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return cv2.copyMakeBorder(image, *before, cv2.BORDER_REPLICATE)


def _move(bar: tqdm, step: int, losses: Sequence[float]) -> None:
    bar.set_postfix_str(f"loss {sum(losses) / len(losses):.4f}", refresh=False)
    bar.update(step - bar.n)


def _is_learned(folder: Path, base: StableDiffusion) -> bool:
    if not is_trained(folder):
        return False
    trained_on = read_training(folder).get("base")
    if trained_on != base.name:
        raise ValueError(
            f"the adapter in {folder} was trained on {trained_on}, the base model is {base.name} "
            "now; remove the folder, or choose another OUTPUT_DIR"
        )
    return True
