"""The stages of a job that draw, as work that :func:`.job.stage.run_stage` gives out."""

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from fastreid.config import CfgNode
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from fastreid_ext.diffusion.adapter_files import LORA, TEXT_ENCODER, UNET
from fastreid_ext.diffusion.few_step_adapter import with_few_step_adapter
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.settings import FineTuned
from fastreid_ext.generation.fine_tuning.trained_token import encode_with_tokens, read_embedding
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import Work, reason_of
from fastreid_ext.generation.sampling.identity_images import (
    DrawingSettings,
    PersonToDraw,
    draw_persons,
)
from fastreid_ext.generation.sampling.reference_set import ReferenceSettings, make_reference_set
from fastreid_ext.generation.sampling.sampler import expect_possible
from fastreid_ext.manifest import sha256_of


def drawing_model(cfg: CfgNode, base: StableDiffusion) -> StableDiffusion:
    """Return the model that images are drawn with: ``base``, or with SAMPLING.FEW_STEP_ADAPTER."""
    source = cfg.GENERATION.SAMPLING.FEW_STEP_ADAPTER
    if not source:
        return base
    return with_few_step_adapter(base, source, download=cfg.GENERATION.DOWNLOAD)


def with_weights_in_memory(base: StableDiffusion, tuned: FineTuned) -> StableDiffusion:
    """Return ``base`` with copies of its modules that hold the weights of METHOD full."""
    parts = {}
    for part, state in _states(tuned).items():
        module = copy.deepcopy(getattr(base, part))
        module.load_state_dict(state)
        parts[part] = module
    return dataclasses.replace(base, **parts)


def with_weights_of_folder(base: StableDiffusion, folder: Path) -> StableDiffusion:
    """Return ``base`` with the U-Net, and the text encoder if there is one, of METHOD full.

    Args:
        base: model with the remaining parts.
        folder: folder of the identity, with ``unet/`` and ``text_encoder/``.

    Raises:
        FileNotFoundError: they are not there.
    """
    if not (folder / UNET).is_dir():
        raise FileNotFoundError(
            f"expected weights of the whole U-Net in {folder / UNET}, got none; make them with "
            "tools/generate_persons.py fine-tune, or keep them with FINE_TUNING.KEEP_FULL_WEIGHTS"
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
    cfg: CfgNode, model: StableDiffusion, leaders: Mapping[str, str], layout: Layout
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
    model: StableDiffusion,
    people: Mapping[str, Identity],
    prompts: Mapping[str, Sequence[str]],
    layout: Layout,
    in_memory: dict[str, FineTuned] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> Work:
    """Return what draws the images of persons: with adapters, of up to IDENTITIES_AT_ONCE.

    Images that are there stay; those that are missing are added.

    Args:
        cfg: ``SEED``, ``GENERATION``.
        model: of :func:`drawing_model`.
        people: name -> person.
        prompts: name to prompts of the images, in turn.
        layout: of the job; what was learned of each person is in place.
        in_memory: identities whose weights METHOD full left in memory; each is taken out.
        numbers: name -> images wanted, where they are not IMAGES_PER_IDENTITY.
    """
    settings, tuning = DrawingSettings.from_config(cfg), cfg.GENERATION.FINE_TUNING
    expect_possible(model, settings.sampling)
    wanted = dict.fromkeys(people, settings.images) | dict(numbers or {})
    learned, held = (
        _Learned(people, prompts, layout, wanted),
        {} if in_memory is None else in_memory,
    )

    def with_own_weights(names: Sequence[str]) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for name in names:
            if tuned := held.pop(name, None):
                own, digest = with_weights_in_memory(model, tuned), digest_of(_states(tuned))
            else:
                own = with_weights_of_folder(model, layout.adapter(name))
                digest = digest_of(_states_of_folder(layout.adapter(name)))
            embedding = learned.embedding(name, own, own.text_encoder is not model.text_encoder)
            own = dataclasses.replace(drawing_model(cfg, own), name=model.name)
            person = learned.person(name, digest, embedding)
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
        reasons: dict[str, str] = {}
        persons: list[PersonToDraw] = []
        for name in names:
            try:
                bank.load(len(persons), layout.adapter(name))
                digest = sha256_of(layout.adapter(name) / LORA)
                embedding = learned.embedding(name, model)
            except (OSError, ValueError) as error:  # the others are still drawn in one batch
                reasons[name] = reason_of(error)
                continue
            persons.append(learned.person(name, digest, embedding, adapter=len(persons)))
        return reasons | draw_persons(model, bank, persons, layout, settings)

    return with_adapters


@dataclasses.dataclass(frozen=True)
class _Learned:
    """Puts together what is known of a person."""

    people: Mapping[str, Identity]
    prompts: Mapping[str, Sequence[str]]
    layout: Layout
    wanted: Mapping[str, int]

    def person(
        self, name: str, digest: str, embedding: Tensor | None, adapter: int = -1
    ) -> PersonToDraw:
        return PersonToDraw(
            identity=self.people[name],
            prompts=tuple(self.prompts[name]),
            embedding=embedding,
            adapter=adapter,
            model_id=f"adapters/{name}@{digest[:12]}",
            indices=range(self.layout.image_count(name), self.wanted[name]),
        )

    def embedding(
        self, name: str, model: StableDiffusion, has_encoder: bool = False
    ) -> Tensor | None:
        """(P, L, C) by the person's own word or text encoder; None where the base model's does."""
        vectors = read_embedding(self.layout.adapter(name))
        if not vectors and not has_encoder:
            return None
        return encode_with_tokens(model, list(self.prompts[name]), vectors)


def digest_of(states: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Return a SHA-256 of weights, the same whether they lie in memory or in files.

    Args:
        states: module -> names and weights on the CPU.
    """
    digest = hashlib.sha256()
    for part in sorted(states):
        for name, value in sorted(states[part].items()):
            digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _states(tuned: FineTuned) -> dict[str, dict[str, Tensor]]:
    parts = {UNET: tuned.unet, TEXT_ENCODER: tuned.text_encoder}
    return {part: state for part, state in parts.items() if state is not None}


def _states_of_folder(folder: Path) -> dict[str, dict[str, Tensor]]:
    states: dict[str, dict[str, Tensor]] = {}
    for part in (UNET, TEXT_ENCODER):
        for file in sorted((folder / part).glob("*.safetensors")):
            states.setdefault(part, {}).update(load_file(file))
    return states
