"""Draw all images of persons and write the folder of each: files, rows, whole or not there."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.atomic import link_or_copy, whole_folder
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.generated_rows import generated_row, image_name, index_of
from fastreid_ext.generation.sampling.image_files import FileSettings, ImageWriter
from fastreid_ext.generation.sampling.sampler import Drawing, Drawn, SamplingSettings, draw
from fastreid_ext.manifest import GeneratedImage, read_identity, write_identity


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """How the images of a person are made.

    Attributes:
        images: images of each person that says no other number.
        run_seed: ``SEED`` of the job.
        sampling: how they are drawn.
        files: how they are written.
    """

    images: int
    run_seed: int
    sampling: SamplingSettings
    files: FileSettings

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "DrawingSettings":
        """Read ``SEED`` and ``GENERATION.SAMPLING``."""
        return cls(
            images=cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY,
            run_seed=cfg.SEED,
            sampling=SamplingSettings.from_config(cfg),
            files=FileSettings.from_config(cfg),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PersonToDraw:
    """A person, and what was learned of them.

    Attributes:
        identity: who.
        prompts: P prompts of the images, in turn by the number of the image.
        embedding: (P, L, C) of the prompts, where they have a trained token or text encoder; None =
            the base model's.
        adapter: row of the bank; -1 = the U-Net as it is.
        model_id: of what was learned, "<id>@<revision>"; "" = nothing.
        indices: numbers of the images to generate; None = from 0 to ``DrawingSettings.images``.
            What is there already stays, so that a person's folder can grow.
    """

    identity: Identity
    prompts: tuple[str, ...]
    embedding: Tensor | None = None
    adapter: int = -1
    model_id: str = ""
    indices: range | None = None

    def prompt(self, index: int) -> str:
        """Return the prompt of the image of a number."""
        return self.prompts[index % len(self.prompts)]


class _NothingDrawnError(Exception):
    """Not one image of a person could be drawn."""


def draw_persons(
    base: StableDiffusion,
    bank: LoraBank | None,
    persons: Sequence[PersonToDraw],
    layout: Layout,
    settings: DrawingSettings,
) -> dict[str, str]:
    """Draw the images of persons into ``images/<identity>``; batches run across persons.

    A person's folder is put in place as soon as the last image is written, while the device draws
    the next person's.

    Args:
        base: the model.
        bank: holds the adapters of ``persons``; None if none has one.
        persons: whose images to draw, each once.
        layout: of the job.
        settings: how.

    Returns:
        Name -> reason of those of whom not one image could be drawn; they get no folder.
    """
    by_name = {person.identity.name: person for person in persons}
    reasons = {}
    with ImageWriter(settings.files) as writer:
        drawn = draw(base, bank, _requests(base, persons, settings), settings.sampling)
        total = sum(len(_indices(person, settings)) for person in persons)
        drawn = progress_bar("  drawing", total, "image", inner=True, counted=drawn)
        for name, images in itertools.groupby(drawn, key=lambda image: image.request.identity):
            finish = functools.partial(_finish, by_name[name], settings, base.name)
            try:
                with whole_folder(layout.images / name, layout.output) as folder:
                    before = _kept(layout.images / name, folder)
                    finish(_written(folder, images, settings.files, writer), before, folder)
            except _NothingDrawnError as error:
                reasons[name] = str(error)
    return reasons


def _requests(
    base: StableDiffusion, persons: Sequence[PersonToDraw], settings: DrawingSettings
) -> Iterator[Drawing]:
    """Yield all images of the first person, then those of the second ..."""
    without = [person for person in persons if person.embedding is None]
    texts = list(dict.fromkeys(text for person in without for text in person.prompts))
    # All at once, before the device has anything else to do.
    known = dict(zip(texts, base.encode_prompts(texts), strict=True)) if texts else {}
    numbered = ((person, i) for person in persons for i in _indices(person, settings))
    for person, index in numbered:
        name = person.identity.name
        own = person.embedding
        place = index % len(person.prompts)
        yield Drawing(
            identity=name,
            prompt=known[person.prompts[place]] if own is None else own[place],
            adapter=person.adapter,
            seed=seed_of(settings.run_seed, "draw", name, index),
            index=index,
        )


def _indices(person: PersonToDraw, settings: DrawingSettings) -> range:
    return range(settings.images) if person.indices is None else person.indices


def _kept(target: Path, folder: Path) -> list[GeneratedImage]:
    """Link the images of an earlier run into a new folder; return their rows in order."""
    if not (target / "metadata.jsonl").is_file():
        return []
    rows = read_identity(target)
    for row in rows:
        if row.path.is_file():
            link_or_copy(row.path, folder / row.image.file_name)
    return [row.image for row in sorted(rows, key=lambda row: index_of(row.image.file_name))]


def _written(
    folder: Path, images: Iterable[Drawn], files: FileSettings, writer: ImageWriter
) -> list[tuple[Drawn, str, Future[str] | None]]:
    """Start to write images; returns each with its file name and what becomes its SHA-256."""
    started = []
    for image in images:
        name = image_name(image.request.identity, image.request.index, files.format)
        pending = None if image.pixels is None else writer.write(folder / name, image.pixels)
        started.append((image, name, pending))
    return started


def _finish(
    person: PersonToDraw,
    settings: DrawingSettings,
    base_name: str,
    started: Sequence[tuple[Drawn, str, Future[str] | None]],
    before: Sequence[GeneratedImage],
    folder: Path,
) -> None:
    rows = [
        *before,
        *(
            generated_row(
                image,
                person.identity,
                file_name=name,
                sha256="" if pending is None else pending.result(),
                prompt=person.prompt(image.request.index),
                model_ids=[base_name, *([person.model_id] if person.model_id else [])],
                sampling=settings.sampling,
            )
            for image, name, pending in started
        ),
    ]
    if all(row.status == "failed" for row in rows):
        raise _NothingDrawnError(f"none of {len(rows)} images could be drawn: {rows[0].reason}")
    write_identity(folder, rows, durable=False)  # whole_folder waits for the disk
