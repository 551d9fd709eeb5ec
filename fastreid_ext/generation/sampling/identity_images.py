"""Generate all images of identities and write the folder of each: image files and rows."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.atomic import link_or_copy, whole_folder
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.image_files import FileSettings, ImageWriter
from fastreid_ext.generation.sampling.sampler import (
    ImageRequest,
    SampledImage,
    SamplingSettings,
    sample_images,
)
from fastreid_ext.manifest import GeneratedImage, read_identity, write_identity

# Domain of the images' seeds; another word would change every image.
_SEED_DOMAIN = "draw"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdentityImagesSettings:
    """Settings of the images of an identity.

    Attributes:
        images: number of images of an identity whose task names no other.
        run_seed: ``SEED`` of the job, from which all seeds derive.
        sampling: size, scheduler, steps and guidance of the sampler.
        files: size and format of the files.
    """

    images: int
    run_seed: int
    sampling: SamplingSettings
    files: FileSettings

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "IdentityImagesSettings":
        """Read ``SEED`` and ``GENERATION.SAMPLING``."""
        return cls(
            images=cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY,
            run_seed=cfg.SEED,
            sampling=SamplingSettings.from_config(cfg),
            files=FileSettings.from_config(cfg),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SamplingTask:
    """An identity to generate images of.

    Attributes:
        identity: identity that the images show.
        prompts: P prompts of the images, used in turn by the number of the image.
        embedding: (P, L, C) embeddings of the prompts, where a trained token or text encoder made
            them; None to use the base model's.
        adapter: row of the adapter bank; -1 for the U-Net without an adapter.
        model_id: id of the fine-tuned weights, "<id>@<revision>"; "" without any.
        indices: numbers of the images to generate; None for 0 to ``IdentityImagesSettings.images``.
            Existing images are kept, so an identity's folder can grow.
    """

    identity: Identity
    prompts: tuple[str, ...]
    embedding: Tensor | None = None
    adapter: int = -1
    model_id: str = ""
    indices: range | None = None

    def prompt(self, index: int) -> str:
        """Return the prompt of the image number ``index``."""
        return self.prompts[index % len(self.prompts)]


class _NothingSampledError(Exception):
    """All images of an identity failed."""


def sample_identities(
    base: StableDiffusion,
    bank: LoraBank | None,
    tasks: Sequence[SamplingTask],
    layout: Layout,
    settings: IdentityImagesSettings,
) -> dict[str, str]:
    """Generate the images of identities into ``images/<identity>``; batches run across identities.

    The folder of an identity is put in place as soon as its last image is written, while the device
    generates the next identity.

    Args:
        base: Stable Diffusion model that generates the images.
        bank: bank with the adapters of ``tasks``; None if no task has one.
        tasks: identities to generate, each once.
        layout: paths of the folders of the job.
        settings: number of images, sampler and file format.

    Returns:
        Name -> reason of identities whose images all failed; they get no folder.
    """
    by_name = {task.identity.name: task for task in tasks}
    reasons = {}
    with ImageWriter(settings.files) as writer:
        images = sample_images(base, bank, _requests(base, tasks, settings), settings.sampling)
        total = sum(len(_indices(task, settings)) for task in tasks)
        images = progress_bar("  sampling", total, "image", inner=True, counted=images)
        for name, own in itertools.groupby(images, key=lambda image: image.request.identity):
            finish = functools.partial(_finish, by_name[name], settings, base.name)
            try:
                with whole_folder(layout.images / name, layout.output) as folder:
                    before = link_existing(layout.images / name, folder)
                    finish(_start_writing(folder, own, settings.files, writer), before, folder)
            except _NothingSampledError as error:
                reasons[name] = str(error)
    return reasons


def image_name(identity: str, index: int, image_format: str) -> str:
    """Build the file name of an image below the folder of its identity.

    Example:
        >>> image_name("Market1501_0002", 7, "jpg")
        'Market1501_0002_0007.jpg'
    """
    return f"{identity}_{index:04d}.{image_format}"


def index_of(file_name: str) -> int:
    """Parse the number of an image from a name of :func:`image_name`."""
    return int(file_name.rpartition(".")[0].rpartition("_")[2])


def generated_row(
    image: SampledImage,
    identity: Identity,
    *,
    file_name: str,
    sha256: str,
    prompt: str,
    model_ids: Sequence[str],
    sampling: SamplingSettings,
) -> GeneratedImage:
    """Build the row of an image that no filter has judged: "ok", or "failed" with the reason.

    Args:
        image: image, or failure, as the sampler returned it.
        identity: identity that the image shows.
        file_name: name of the file below the folder of the identity.
        sha256: SHA-256 of the file; "" without a file.
        prompt: text that the image was generated from.
        model_ids: ids of the models that took part.
        sampling: size, scheduler, steps and guidance of the sampler.
    """
    status: dict[str, Any] = {"sha256": sha256}
    if image.pixels is None:
        status = {"status": "failed", "reason": image.reason}
    return GeneratedImage(
        file_name=file_name,
        source_dataset=identity.source_dataset,
        person_id=identity.person_id,
        seed=image.request.seed,
        model_ids=tuple(model_ids),
        source_images=tuple(source.path for source in identity.images),
        source_camera_id=identity.images[0].camera if identity.images else -1,
        prompt=prompt,
        steps=sampling.steps,
        guidance=sampling.guidance_scale,
        **status,
    )


def _requests(
    base: StableDiffusion, tasks: Sequence[SamplingTask], settings: IdentityImagesSettings
) -> Iterator[ImageRequest]:
    """Yield all images of the first identity, then those of the second, and so on."""
    without = [task for task in tasks if task.embedding is None]
    texts = list(dict.fromkeys(text for task in without for text in task.prompts))
    # All at once, before the device has anything else to do.
    known = dict(zip(texts, base.encode_prompts(texts), strict=True)) if texts else {}
    numbered = ((task, i) for task in tasks for i in _indices(task, settings))
    for task, index in numbered:
        name = task.identity.name
        place = index % len(task.prompts)
        prompt = known[task.prompts[place]] if task.embedding is None else task.embedding[place]
        yield ImageRequest(
            identity=name,
            prompt=prompt,
            adapter=task.adapter,
            seed=seed_of(settings.run_seed, _SEED_DOMAIN, name, index),
            index=index,
        )


def _indices(task: SamplingTask, settings: IdentityImagesSettings) -> range:
    return range(settings.images) if task.indices is None else task.indices


def link_existing(target: Path, folder: Path) -> list[GeneratedImage]:
    """Link the images of an earlier run into a new folder; return their rows in order."""
    if not (target / "metadata.jsonl").is_file():
        return []
    rows = read_identity(target)
    for row in rows:
        if row.path.is_file():
            link_or_copy(row.path, folder / row.image.file_name)
    return [row.image for row in sorted(rows, key=lambda row: index_of(row.image.file_name))]


def _start_writing(
    folder: Path, images: Iterable[SampledImage], files: FileSettings, writer: ImageWriter
) -> list[tuple[SampledImage, str, Future[str] | None]]:
    """Start to write images; return each with its file name and its pending SHA-256."""
    started = []
    for image in images:
        name = image_name(image.request.identity, image.request.index, files.format)
        pending = None if image.pixels is None else writer.write(folder / name, image.pixels)
        started.append((image, name, pending))
    return started


def _finish(
    task: SamplingTask,
    settings: IdentityImagesSettings,
    base_name: str,
    started: Sequence[tuple[SampledImage, str, Future[str] | None]],
    before: Sequence[GeneratedImage],
    folder: Path,
) -> None:
    model_ids = [base_name]
    if task.model_id:
        model_ids.append(task.model_id)
    new = [
        generated_row(
            image,
            task.identity,
            file_name=name,
            sha256="" if pending is None else pending.result(),
            prompt=task.prompt(image.request.index),
            model_ids=model_ids,
            sampling=settings.sampling,
        )
        for image, name, pending in started
    ]
    rows = [*before, *new]
    if all(row.status == "failed" for row in rows):
        raise _NothingSampledError(
            f"none of {len(rows)} images could be generated: {rows[0].reason}"
        )
    write_identity(folder, rows, durable=False)  # whole_folder waits for the disk
