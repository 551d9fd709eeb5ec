"""The stages of a job that draw, as work that :func:`.stage.run_stage` gives out."""

from collections.abc import Mapping, Sequence

from fastreid.config import CfgNode

from fastreid_ext.generation.adapter_files import LORA
from fastreid_ext.generation.base_model import BaseModel
from fastreid_ext.generation.few_steps import with_few_step_adapter
from fastreid_ext.generation.identities import Identity
from fastreid_ext.generation.layout import Layout
from fastreid_ext.generation.lora_bank import LoraBank
from fastreid_ext.generation.person_images import DrawingSettings, PersonToDraw, draw_persons
from fastreid_ext.generation.reference_set import ReferenceSettings, make_reference_set
from fastreid_ext.generation.stage import Work
from fastreid_ext.manifest import sha256_of


def drawing_model(cfg: CfgNode, base: BaseModel) -> BaseModel:
    """Return the model that images are drawn with: ``base``, or with SAMPLING.FEW_STEP_ADAPTER."""
    source = cfg.GENERATION.SAMPLING.FEW_STEP_ADAPTER
    if not source:
        return base
    return with_few_step_adapter(base, source, download=cfg.GENERATION.DOWNLOAD)


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

    def work(clusters: Sequence[str]) -> dict[str, str]:
        for cluster in clusters:
            make_reference_set(model, leaders[cluster], cluster, layout.output, settings)
        return {}

    return work


def drawing_work(
    cfg: CfgNode,
    model: BaseModel,
    people: Mapping[str, Identity],
    prompts: Mapping[str, str],
    layout: Layout,
) -> Work:
    """Return what draws the images of up to IDENTITIES_AT_ONCE persons.

    Args:
        cfg: ``SEED``, ``GENERATION``.
        model: of :func:`drawing_model`.
        people: name -> person.
        prompts: name -> prompt with the identity token.
        layout: of the job; each person's adapter is in place.
    """
    settings, tuning = DrawingSettings.from_config(cfg), cfg.GENERATION.FINE_TUNING
    bank = LoraBank(
        model.unet,
        count=tuning.IDENTITIES_AT_ONCE,
        rank=tuning.RANK,
        alpha=tuning.ALPHA,
        target_modules=tuning.TARGET_MODULES,
    )

    def work(names: Sequence[str]) -> dict[str, str]:
        persons = []
        for row, name in enumerate(names):
            bank.load(row, layout.adapter(name))
            digest = sha256_of(layout.adapter(name) / LORA)[:12]
            persons.append(
                PersonToDraw(
                    identity=people[name],
                    prompt=prompts[name],
                    adapter=row,
                    model_id=f"adapters/{name}@{digest}",
                )
            )
        reasons = draw_persons(model, bank, persons, layout, settings)
        bank.select_none()  # the U-Net may be trained next
        return reasons

    return work
