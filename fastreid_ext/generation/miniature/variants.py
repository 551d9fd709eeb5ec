"""What the miniature replication compares: what a backbone is pre-trained on."""

from typing import NamedTuple

from fastreid_ext.generation.miniature.drawn_sets import Drawings


class Variant(NamedTuple):
    """What is pre-trained on: drawings, or else the photographs; with the key "random" nothing.

    Attributes:
        title: in tables.
        group: variants that answer one question.
        drawings: which.
    """

    title: str
    group: str
    drawings: Drawings | None = None


REFERENCE = "the photographs alone"  # gains are over it
VARIANTS = {
    "random": Variant("nothing", "start"),
    "real": Variant(REFERENCE, "start"),
    "reid": Variant("drawings, Re-ID filter", "method", Drawings()),
    "strict": Variant("Re-ID filter, 10th percentile", "filter", Drawings(rule="percentile")),
    "no_filter": Variant("no filter", "filter", Drawings(filters=())),
    # About as many as the Re-ID filter keeps: which, not how many.
    "no_filter_half": Variant("no filter, a half", "filter", Drawings(filters=(), share=0.5)),
    "clip": Variant("CLIP filter", "filter", Drawings(filters=("clip",))),
    "cctf": Variant("classifier as filter", "filter", Drawings(filters=("cctf",))),
    "half": Variant("Re-ID filter, a half", "scale", Drawings(share=0.5)),
    "quarter": Variant("Re-ID filter, a quarter", "scale", Drawings(share=0.25)),
    "no_token": Variant("no identity token", "part", Drawings("no_token")),
    "no_reference_set": Variant("no reference set", "part", Drawings("no_reference_set")),
}
