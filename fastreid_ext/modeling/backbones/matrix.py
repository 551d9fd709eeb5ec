"""Table of backbones and baselines: pairs that work, with footnotes, and pairs that are refused.

Rows are groups of backbones, columns the baselines of ``configs/Base-*.yml``. A cell is the reason
why :mod:`fastreid_ext.checks.backbone` refuses the pair, or the footnotes of a pair that works;
every pair is built and trained for one step in ``tests/modeling/backbones/test_matrix.py``.
"""

import dataclasses

BASELINES = ("BoT", "AGW", "SBS", "MGN", "BDB")

RESNET_18 = "ResNet 18x, 34x"
RESNET_50 = "ResNet 50x, 101x"
TWO_STREAM = "two-stream ResNet"
HOST_CNN = "other CNNs of fastreid"
HOST_VIT = "fastreid's ViT"
SWIN = "Swin tiny, small, base"
PLAIN_VIT = "plain ViT tiny, small, base"
CLIP_VIT = "CLIP ViT-B/16"
TIMM = "any map of timm"

NOTES = {
    "a": "WITH_NL, which Base-AGW and Base-SBS set, has no effect: only fastreid's ResNet 50x, "
    "101x and ResNeXt have non-local blocks. The log warns of it when a run begins.",
    "b": "Generalised-mean pooling clamps at 1e-6. This map ends in a norm, not in a ReLU, so half "
    "of its values are negative and the pooling acts as the ReLU that a ResNet ends with.",
    "c": "Uses the patch tokens as a map (TOKENS patch, the default here); with TOKENS class it is "
    "refused.",
    "d": "Our reconstruction, from no paper: the trunk is shared, and the last stage (Swin: the "
    "last patch merging and two blocks; ViT: the last block and what follows) is copied for each "
    "of the three branches, as fastreid copies the end of a ResNet-50.",
    "e": "LAST_STRIDE has no effect: the map has 1/32 of the image's rows (12 at 384 x 128), not "
    "the 24 of a ResNet-50 with stride 1. RegNet, EfficientNet, ResNeXt, ResNeSt and RepVGG read "
    "it, and OSNet has 24 rows of itself.",
    "f": "Test and training images have one size, a multiple of 16.",
    "h": "Each image goes through the first layer of its modality, visible or infrared, which the "
    "batch holds. ResNet 18x and 34x have no non-local blocks.",
    "g": "Test and training images have one size for models of timm that fix it (ViTs, Swin).",
}

_NO_LAST_STAGE = (
    "MGN copies the last stage of the backbone for each branch, and knows it for "
    "build_resnet_backbone 50x and 101x, build_swin_backbone, build_plain_vit_backbone and "
    "build_clip_vit_backbone only; take one of these, or "
    "projects/BDB/configs/Base-BDB.yml for a part-based model of any map"
)
_NO_BOTTLENECK = (
    "fastreid's MGN rebuilds the last stage from bottleneck blocks, and ResNet 18x and 34x have "
    "none; set MODEL.BACKBONE.DEPTH 50x"
)
_NO_MAP = (
    "build_vit_backbone of fastreid gives the class token, a map of 1 x 1, and this baseline pools "
    "or cuts a larger one; take MODEL.BACKBONE.NAME build_plain_vit_backbone"
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Cell of the table.

    Attributes:
        refused: reason why the pair cannot work, with what to set instead; "" = it works.
        notes: letters of the footnotes in ``NOTES``.
    """

    refused: str = ""
    notes: str = ""


def _row(notes: str = "", mgn: Pair | None = None, bdb: Pair | None = None, **more: str) -> dict:
    """Build a row; ``notes`` holds for all five baselines, ``gem`` for AGW and SBS."""
    pooled = Pair(notes=notes + more.get("gem", ""))
    return {
        "BoT": Pair(notes=notes),
        "AGW": pooled,
        "SBS": pooled,
        "MGN": mgn or Pair(notes=notes),
        "BDB": bdb or Pair(notes=notes),
    }


MATRIX: dict[str, dict[str, Pair]] = {
    RESNET_18: _row(gem="a", mgn=Pair(_NO_BOTTLENECK)),
    RESNET_50: _row(),
    TWO_STREAM: _row(gem="h", mgn=Pair(_NO_LAST_STAGE)),
    HOST_CNN: _row(gem="a", mgn=Pair(_NO_LAST_STAGE), bdb=Pair(notes="e")),
    HOST_VIT: {
        "BoT": Pair(notes="f"),
        **{name: Pair(_NO_MAP) for name in BASELINES[1:]},
    },
    SWIN: _row(gem="ab", mgn=Pair(notes="bde"), bdb=Pair(notes="e")),
    PLAIN_VIT: _row("f", gem="abc", mgn=Pair(notes="bcdf"), bdb=Pair(notes="cf")),
    CLIP_VIT: _row("f", gem="abc", mgn=Pair(notes="bcdf"), bdb=Pair(notes="cf")),
    TIMM: _row("g", gem="ab", mgn=Pair(_NO_LAST_STAGE), bdb=Pair(notes="eg")),
}


def matrix_table() -> str:
    """Write the table in Markdown with footnotes; numbered ones are refusals."""
    reasons: list[str] = []
    lines = [f"| backbone | {' | '.join(BASELINES)} |", "|---" * (len(BASELINES) + 1) + "|"]
    for group, pairs in MATRIX.items():
        cells = []
        for baseline in BASELINES:
            pair = pairs[baseline]
            if pair.refused and pair.refused not in reasons:
                reasons.append(pair.refused)
            mark = f"no ({reasons.index(pair.refused) + 1})" if pair.refused else "yes"
            cells.append(f"{mark} {' '.join(pair.notes)}".strip())
        lines.append(f"| {group} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"- {key}: {text}" for key, text in NOTES.items()]
    lines += [f"- {number}: {text}." for number, text in enumerate(reasons, 1)]
    return "\n".join(lines)
