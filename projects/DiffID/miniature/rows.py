"""Rows of the paper's table 1 in miniature, and the controls that the paper does not have."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedRow:
    """A generated set of the table.

    Attributes:
        title: words of the row in the table.
        generator: name of the generator, see ``generated_sets.GENERATORS``.
        poses: "set" = poses of the biased set, "bank" = unusual poses.
        views: "set" = viewpoints of the biased set, "all" = all of them.
        per_identity: number of images of each identity.
    """

    title: str
    generator: str = "tuned"
    poses: str = "bank"
    views: str = "all"
    per_identity: int = 12


FULL = "VI"  # row of the whole method, and of the curve
REAL = "I"
TRUTH = "truth"
TRANSFER = "transfer"  # row of the judge, which has no training of its own
GENERATED: Mapping[str, GeneratedRow] = {
    "II": GeneratedRow(title="II: generated, poses and views of the set", poses="set", views="set"),
    "III": GeneratedRow(title="III: generated, unusual poses", views="set"),
    "IV": GeneratedRow(title="IV: generated, all views", poses="set"),
    "V": GeneratedRow(title="V: generated, both; generator from scratch", generator="scratch"),
    FULL: GeneratedRow(title="VI: generated, both", per_identity=24),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    """Trainings of the table.

    Attributes:
        title: words of the row.
        generated: key of the generated set that joins the real images, or "truth"; "" for none.
        images: number of its images.
        pretrained: whether the network starts from the judge's weights instead of random ones.
    """

    title: str
    generated: str = ""
    images: int = 0
    pretrained: bool = False


IMAGES = 960  # added images of each row: as many as the real ones
CURVE = (240, 480, 960, 1920)
TABLE: Mapping[str, TableRow] = {
    REAL: TableRow(title="I: real images alone"),
    **{
        key: TableRow(title=row.title, generated=key, images=IMAGES)
        for key, row in GENERATED.items()
    },
    TRUTH: TableRow(
        title="upper bound: the bodies of VI truly rendered", generated=TRUTH, images=IMAGES
    ),
    TRANSFER: TableRow(title="control: the other persons alone, one seed"),
    "pretrained": TableRow(title="control: I, pre-trained on the other persons", pretrained=True),
    "pretrained_VI": TableRow(
        title="VI, pre-trained on the other persons", generated=FULL, images=IMAGES, pretrained=True
    ),
    **{
        f"curve_{number}": TableRow(title=f"VI with {number} images", generated=FULL, images=number)
        for number in CURVE
        if number != IMAGES
    },
}
