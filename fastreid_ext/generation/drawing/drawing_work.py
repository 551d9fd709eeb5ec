"""The stages of a job that draw, as work that :func:`.job.stage.run_stage` gives out."""

import dataclasses
from collections.abc import Mapping, Sequence

from diffusers import UNet2DConditionModel
from fastreid.config import CfgNode
from torch import Tensor
from transformers import CLIPTextModel

from fastreid_ext.generation.base.base_model import BaseModel
from fastreid_ext.generation.base.few_steps import with_few_step_adapter
from fastreid_ext.generation.drawing.person_images import (
    DrawingSettings,
    PersonToDraw,
    draw_persons,
)
from fastreid_ext.generation.drawing.reference_set import ReferenceSettings, make_reference_set
from fastreid_ext.generation.drawing.sampling import expect_possible
from fastreid_ext.generation.job.layout import Layout
from fastreid_ext.generation.job.stage import Work
from fastreid_ext.generation.people.identities import Identity
from fastreid_ext.generation.tuning.adapter_files import LORA, TEXT_ENCODER, UNET
from fastreid_ext.generation.tuning.lora_bank import LoraBank
from fastreid_ext.generation.tuning.trained_token import encode_with_tokens, read_embedding
from fastreid_ext.manifest import sha256_of


def drawing_model(cfg: CfgNode, base: BaseModel) -> BaseModel:
    """Return the model that images are drawn with: ``base``, or with SAMPLING.FEW_STEP_ADAPTER."""
    source = cfg.GENERATION.SAMPLING.FEW_STEP_ADAPTER
    if not source:
        return base
    return with_few_step_adapter(base, source, download=cfg.GENERATION.DOWNLOAD)


def with_learned_weights(base: BaseModel, layout: Layout, name: str) -> BaseModel:
    """Return ``base`` with the U-Net, and the text encoder if there is one, of METHOD full.

    Raises:
        FileNotFoundError: they are not there.
    """
    folder = layout.adapter(name)
    if not (folder / UNET).is_dir():
        raise FileNotFoundError(
            f"expected weights of the whole U-Net in {folder / UNET}, got none; make them with "
            "tools/fine_tune_persons.py, or keep them with FINE_TUNING.KEEP_FULL_WEIGHTS"
        )
    kinds = {UNET: UNet2DConditionModel, TEXT_ENCODER: CLIPTextModel}
    parts = {
        part: kind.from_pretrained(
            folder, subfolder=part, torch_dtype=base.dtype, use_safetensors=True
        )
        .to(base.device)
        .eval()
        .requires_grad_(False)
        for part, kind in kinds.items()
        if (folder / part).is_dir()
    }
    return dataclasses.replace(base, **parts)


def reference_work(
    cfg: CfgNode, model: BaseModel, leaders: Mapping[str, str], layout: Layout
) -> Work:
    """Return what draws reference sets.

    Args:
        cfg: ``SEED``, ``GENERATION``.
        model: of :func:`drawing_model`, without adapters of persons.
        leaders: cluster -> reference prompt.
        layout: of the job.
    """
    settings = ReferenceSettings.from_config(cfg)
    expect_possible(model, settings.sampling)

    def work(clusters: Sequence[str]) -> dict[str, str]:
        for cluster in clusters:
            make_reference_set(model, leaders[cluster], cluster, layout.output, settings)
        return {}

    return work


def drawing_work(
    cfg: CfgNode,
    model: BaseModel,
    people: Mapping[str, Identity],
    prompts: Mapping[str, Sequence[str]],
    layout: Layout,
) -> Work:
    """Return what draws the images of persons: with adapters, of up to IDENTITIES_AT_ONCE.

    Args:
        cfg: ``SEED``, ``GENERATION``.
        model: of :func:`drawing_model`.
        people: name -> person.
        prompts: name to prompts of the images, in turn.
        layout: of the job; what was learned of each person is in place.
    """
    settings, tuning = DrawingSettings.from_config(cfg), cfg.GENERATION.FINE_TUNING
    expect_possible(model, settings.sampling)
    learned = _Learned(people, prompts, layout)

    def with_own_weights(names: Sequence[str]) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for name in names:
            own = drawing_model(cfg, with_learned_weights(model, layout, name))
            own = dataclasses.replace(own, name=model.name)
            person = learned.person(name, own)
            reasons |= draw_persons(own, None, [person], layout, settings)
        return reasons

    if tuning.METHOD == "full":
        return with_own_weights
    bank = LoraBank(
        model.unet,
        count=tuning.IDENTITIES_AT_ONCE,
        rank=tuning.RANK,
        alpha=tuning.ALPHA,
        target_modules=tuning.TARGET_MODULES,
    )

    def with_adapters(names: Sequence[str]) -> dict[str, str]:
        for row, name in enumerate(names):
            bank.load(row, layout.adapter(name))
        persons = [learned.person(name, model, row) for row, name in enumerate(names)]
        return draw_persons(model, bank, persons, layout, settings)

    return with_adapters


@dataclasses.dataclass(frozen=True)
class _Learned:
    """Puts together what is known of a person."""

    people: Mapping[str, Identity]
    prompts: Mapping[str, Sequence[str]]
    layout: Layout

    def person(self, name: str, model: BaseModel, adapter: int = -1) -> PersonToDraw:
        folder = self.layout.adapter(name)
        weights = folder / LORA
        if adapter < 0:
            (weights,) = (folder / UNET).glob("*.safetensors")
        return PersonToDraw(
            identity=self.people[name],
            prompts=tuple(self.prompts[name]),
            embedding=self._embedding(name, model),
            adapter=adapter,
            model_id=f"adapters/{name}@{sha256_of(weights)[:12]}",
        )

    def _embedding(self, name: str, model: BaseModel) -> Tensor | None:
        """(P, L, C) by the person's own word or text encoder; None where the base model's does."""
        vectors = read_embedding(self.layout.adapter(name))
        if not vectors and not (self.layout.adapter(name) / TEXT_ENCODER).is_dir():
            return None
        return encode_with_tokens(model, list(self.prompts[name]), vectors)
