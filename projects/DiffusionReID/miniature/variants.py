"""Variants that the miniature replication compares: sets that a backbone is pre-trained on."""

from typing import NamedTuple

from projects.DiffusionReID.miniature.generated_sets import ImageChoice


class Variant(NamedTuple):
    """One start of the Re-ID model: the images that its backbone is pre-trained on.

    Attributes:
        title: name of the row in tables.
        group: question that the row answers; each group has a colour.
        real_images: whether the few real images of the persons are among them.
        generated: choice of generated images among them; None for none.
        base_images: part of the labelled images that the base diffusion model was trained on, as in
            DATASETS.SUBSET, or "all"; "" = none of them.
    """

    title: str
    group: str
    real_images: bool = False
    generated: ImageChoice | None = None
    base_images: str = ""


REFERENCE = "the real images alone"  # gains are over it
CONTROL = "control"
VARIANTS = {
    "random": Variant("nothing", "start"),
    "real": Variant(REFERENCE, "start", real_images=True),
    # The simplest use of the same knowledge: no diffusion model, its training images themselves.
    # As many images as are generated, as many as equal steps see twice, and all of them.
    "base_few": Variant("base model's images, 7 %", CONTROL, base_images="small_scale_7"),
    "base_part": Variant("base model's images, 27 %", CONTROL, base_images="small_scale_27"),
    "base_all": Variant("base model's images, all", CONTROL, base_images="all"),
    "base_and_generated": Variant(
        "base model's images and no filter",
        CONTROL,
        generated=ImageChoice(filters=()),
        base_images="all",
    ),
    "reid": Variant("generated images, Re-ID filter", "method", generated=ImageChoice()),
    "strict": Variant(
        "Re-ID filter, 10th percentile", "filter", generated=ImageChoice(rule="percentile")
    ),
    "no_filter": Variant("no filter", "filter", generated=ImageChoice(filters=())),
    # About as many as the Re-ID filter keeps: which, not how many.
    "no_filter_half": Variant(
        "no filter, a half", "filter", generated=ImageChoice(filters=(), share=0.5)
    ),
    "clip": Variant("CLIP filter", "filter", generated=ImageChoice(filters=("clip",))),
    "cctf": Variant("classifier as filter", "filter", generated=ImageChoice(filters=("cctf",))),
    "half": Variant("Re-ID filter, a half", "scale", generated=ImageChoice(share=0.5)),
    "quarter": Variant("Re-ID filter, a quarter", "scale", generated=ImageChoice(share=0.25)),
    "no_token": Variant("no identity token", "part", generated=ImageChoice("no_token")),
    "no_reference_set": Variant(
        "no reference set", "part", generated=ImageChoice("no_reference_set")
    ),
}
