"""One job and this process's part of it: what every stage reads, each read or loaded once.

A stage is a function of a :class:`Job`, such as ``fine_tune(job, names)``. Results of earlier
stages are its attributes: ``job.identities``, ``job.captions``, ``job.prompts``, ``job.clusters``.
The Stable Diffusion model is ``job.base``, paths of files are methods of ``job.layout``.
"""

import dataclasses
import functools
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from diffusers.utils.logging import disable_progress_bar
from fastreid.config import CfgNode
from transformers import CLIPTokenizer

from fastreid_ext.diffusion.adapter_files import is_fine_tuned, read_training
from fastreid_ext.diffusion.few_step_adapter import with_few_step_adapter
from fastreid_ext.diffusion.pipeline_folder import find_base_folder
from fastreid_ext.diffusion.quiet_loading import quiet_loading
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion, load_base, read_tokenizer
from fastreid_ext.generation.captions.captions_file import CaptionRow, read_captions
from fastreid_ext.generation.captions.prompts import (
    Prompts,
    check_length,
    check_token,
    leaders_of,
    prompts_of,
    prompts_to_fit,
)
from fastreid_ext.generation.fine_tuning.fine_tuned_files import fine_tuned_bytes
from fastreid_ext.generation.identities.identity_list import (
    Identity,
    read_identities,
    used_identities,
)
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import free_memory, settle
from fastreid_ext.generation.runs.workers import Worker

_BYTES_A_PIXEL = {"jpg": 1, "png": 3}  # of noisy images; others need less
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A job, seen by one of the processes that work on it.

    Attributes:
        cfg: full configuration of the job.
        worker: this process: folder of the job, shard, retries.
    """

    cfg: CfgNode
    worker: Worker

    @classmethod
    def to_read(cls, cfg: CfgNode) -> "Job":
        """Make a job whose files are only read, so that no shard is held.

        Args:
            cfg: full configuration of the job, whose folder is OUTPUT_DIR.
        """
        return cls(cfg, Worker(output=Path(cfg.OUTPUT_DIR)))

    @functools.cached_property
    def layout(self) -> Layout:
        """Paths of the job's files."""
        return Layout(self.worker.output)

    @functools.cached_property
    def identities(self) -> dict[str, Identity]:
        """Identities to generate, by name: those of ``identities.jsonl`` up to IDENTITIES.LIMIT."""
        usable = used_identities(read_identities(self.layout.identities))
        limit = self.cfg.GENERATION.IDENTITIES.LIMIT
        return {identity.name: identity for identity in usable[: limit or None]}

    @functools.cached_property
    def captions(self) -> dict[str, CaptionRow]:
        """Rows of ``captions.jsonl`` by identity, in the order of :attr:`identities`."""
        rows = read_captions(self.layout.output)
        return {name: rows[name] for name in self.identities if name in rows}

    @functools.cached_property
    def prompts(self) -> dict[str, Prompts]:
        """Prompts by identity.

        An identity whose caption gives no prompt, or one that the text encoder would cut, fails in
        the stage ``prompts`` with the reason. A corrected caption takes that failure back.
        """
        check_token(self.tokenizer, self.cfg.GENERATION.PROMPT.TOKEN)
        prompts: dict[str, Prompts] = {}
        for name, row in self.captions.items():
            reason = ""
            try:
                own = prompts_of(row, self.cfg)
                for prompt in prompts_to_fit(self.cfg, row.caption):
                    check_length(self.tokenizer, prompt)
                prompts[name] = own
            except ValueError as error:
                reason = str(error)
                # A report would not show it for an identity that was generated before.
                _log.warning("%s: %s", name, reason)
            settle(self.worker, "prompts", name, reason)
        return prompts

    @functools.cached_property
    def references(self) -> dict[str, str]:
        """Prompt of each identity without its identity token, which its reference set is of."""
        return {name: own.reference for name, own in self.prompts.items()}

    @functools.cached_property
    def clusters(self) -> dict[str, str]:
        """Reference set of each identity; {} for a job without reference sets."""
        if not self.has_reference_sets:
            return {}
        return read_clusters(self.layout.clusters)["clusters"]

    @functools.cached_property
    def leaders(self) -> dict[str, str]:
        """Prompt that each reference set is generated from."""
        return leaders_of(self.references, self.clusters)

    @functools.cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """Tokenizer of the text encoder that reads the prompts."""
        generation = self.cfg.GENERATION
        folder = find_base_folder(
            generation.BASE_MODEL, revision=generation.REVISION, download=generation.DOWNLOAD
        )
        return read_tokenizer(folder)

    @functools.cached_property
    def base(self) -> StableDiffusion:
        """Frozen model that is fine-tuned, loaded when a stage first needs it."""
        disable_progress_bar()  # of the model's parts; a stage has a bar of its own
        with quiet_loading():
            return load_base(self.cfg)

    @functools.cached_property
    def sampling_model(self) -> StableDiffusion:
        """Model that generates images: :attr:`base`, or with SAMPLING.FEW_STEP_ADAPTER."""
        return self.with_few_steps(self.base)

    def with_few_steps(self, model: StableDiffusion) -> StableDiffusion:
        """Add SAMPLING.FEW_STEP_ADAPTER to a model, if the job has one.

        Args:
            model: base model, or one with the weights of an identity.
        """
        adapter = self.cfg.GENERATION.SAMPLING.FEW_STEP_ADAPTER
        if not adapter:
            return model
        return with_few_step_adapter(model, adapter, download=self.cfg.GENERATION.DOWNLOAD)

    def release_models(self) -> None:
        """Free the memory of the models; the next stage that needs them loads them again."""
        for name in ("base", "sampling_model"):
            self.__dict__.pop(name, None)
        free_memory()

    @property
    def has_reference_sets(self) -> bool:
        """Whether fine-tuning uses reference sets: REFERENCE_SET.IMAGES is above 0."""
        return self.cfg.GENERATION.REFERENCE_SET.IMAGES > 0

    @property
    def keeps_weights(self) -> bool:
        """Whether weights of an identity stay on the disk after its images are generated."""
        tuning = self.cfg.GENERATION.FINE_TUNING
        return tuning.KEEP_FULL_WEIGHTS if tuning.METHOD == "full" else tuning.KEEP_ADAPTERS

    @property
    def identity_bytes(self) -> int:
        """Estimated bytes that an identity takes on the disk: images, and weights if kept."""
        sampling = self.cfg.GENERATION.SAMPLING
        image = _image_bytes(sampling.SAVE_SIZE, sampling.FORMAT)
        weights = fine_tuned_bytes(self.cfg) if self.keeps_weights else 0
        return image * sampling.IMAGES_PER_IDENTITY + weights

    @property
    def reference_bytes(self) -> int:
        """Estimated bytes of an image of a reference set: its file and its posterior's numbers."""
        height, width = self.cfg.GENERATION.SIZE
        latents = 2 * 4 * (height // 8) * (width // 8) * 4  # mean and deviation, float32
        return _image_bytes((height, width), "jpg") + latents

    def select(self, names: Collection[str]) -> list[str]:
        """List identities with a usable caption.

        Args:
            names: names that a user asked for; empty for all.

        Raises:
            ValueError: a name is not one of this job's captioned identities.
        """
        unknown = sorted(set(names) - self.prompts.keys())
        if unknown:
            known = list(self.prompts)
            shown = ", ".join([*known[:3], "..."] if len(known) > 3 else known)
            raise ValueError(
                f"unknown --persons {', '.join(unknown)}; captioned identities of this job: "
                f"{shown or 'none'}"
            )
        return list(names) or list(self.prompts)

    def needs_fine_tuning(self, name: str, images: int | None = None) -> bool:
        """Tell whether an identity lacks images and weights to generate them with.

        An identity without any image counts, whatever lies in its folder of weights.

        Args:
            name: name of one identity.
            images: number of images it should have; None for SAMPLING.IMAGES_PER_IDENTITY.
        """
        if images is None:
            images = self.cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY
        if self.layout.has_images(name, images):
            return False
        return not (self.layout.is_generated(name) and is_fine_tuned(self.layout.adapter(name)))

    def has_changed(self, name: str) -> bool:
        """Tell whether the caption of an identity changed since it was generated or fine-tuned.

        Args:
            name: name of an identity with prompts.

        Raises:
            ValueError: the first row of its images is damaged.
        """
        prompts = self.prompts[name]
        generated_with = _prompt_of_images(self.layout, name)
        if generated_with is not None:
            return generated_with != prompts.sampled[0]
        adapter = self.layout.adapter(name)
        if not is_fine_tuned(adapter):
            return False
        return read_training(adapter).get("prompt") not in (None, prompts.identity)


def read_clusters(path: Path) -> Mapping[str, dict[str, str]]:
    """Read ``clusters.json``.

    Args:
        path: file that the stage ``reference`` wrote.

    Returns:
        "references": identity -> prompt that the clusters were made for; "clusters": identity ->
        name of its reference set.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: dict(content[key]) for key in ("references", "clusters")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, and it is made again"
        ) from error


def _image_bytes(size: Sequence[int], image_format: str) -> int:
    return size[0] * size[1] * _BYTES_A_PIXEL[image_format]


def _prompt_of_images(layout: Layout, name: str) -> str | None:
    """Read the prompt of an identity's first image; None without images."""
    rows = layout.images / name / "metadata.jsonl"
    if not rows.is_file():
        return None
    with open(rows, encoding="utf-8") as file:
        first = file.readline()  # the whole of thousands of files would be read at each start
    if not first:
        return None
    try:
        return json.loads(first)["prompt"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{rows}:1 is damaged ({type(error).__name__}: {error}); remove its folder, and "
            "the identity is generated again"
        ) from error
