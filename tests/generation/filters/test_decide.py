import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.generation.filters.decide import decide
from fastreid_ext.generation.filters.records import FileRecord
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row

REID = Thresholds(use=("reid",), reid={"S": 0.5})


def scored(similarity=0.9, margin=0.2, **others):
    return {"reid_similarity": similarity, "reid_margin": margin, **others}


def row(number, scores, **fields):
    image = GeneratedImage(
        file_name=f"{number}.png",
        source_dataset="S",
        person_id=1,
        seed=number,
        model_ids=("m@0",),
        scores=scores,
        **{"sha256": f"{number:064x}", **fields},
    )
    return Row(image, Path("S_0001/metadata.jsonl"), number + 1)


def files(rows, hashes=None):
    """Hashes far from each other, unless given."""
    far = [f"{int(n):016x}" for n in np.random.default_rng(0).integers(0, 2**63, len(rows))]
    hashes = far if hashes is None else hashes
    return {
        row.image.file_name: FileRecord(row.image.sha256, value)
        for row, value in zip(rows, hashes, strict=True)
    }


def decided(rows, thresholds, hashes=None):
    return decide(rows, files(rows, hashes), thresholds)


def statuses(images):
    return [image.status for image in images]


def test_decide_reid_by_hand():
    rows = [row(0, scored(0.5)), row(1, scored(0.49)), row(2, scored(0.9, -0.1))]
    found = decided(rows, REID)
    assert statuses(found) == ["ok", "rejected", "rejected"]
    assert found[0].reason == ""
    assert found[1].reason == (
        "filter reid: similarity 0.490 to its identity's real images, below 0.500"
    )
    assert found[2].reason == "filter reid: another identity's real images are nearer by 0.100"


def test_decide_without_require_nearest():
    thresholds = dataclasses.replace(REID, require_nearest=False)
    assert statuses(decided([row(0, scored(0.9, -0.1))], thresholds)) == ["ok"]


def test_decide_names_an_identity_without_real_images():
    assert decided([row(0, scored(-1, -2))], REID)[0].reason == (
        "filter reid: there is no real image of its identity to compare with"
    )


def test_decide_by_the_threshold_of_the_data_set():
    thresholds = dataclasses.replace(REID, reid={"S": 0.95, "T": 0.1})
    assert statuses(decided([row(0, scored(0.9))], thresholds)) == ["rejected"]


def test_decide_cctf_and_clip_by_hand():
    thresholds = dataclasses.replace(REID, use=("cctf", "clip"), cctf=0.3, clip=0.6)
    rows = [
        row(n, {"cctf": a, "clip": b})
        for n, (a, b) in enumerate([(0.3, 0.6), (0.2, 0.9), (0.2, 0.1), (-1, 0.9)])
    ]
    assert [image.reason for image in decided(rows, thresholds)] == [
        "",
        "filter cctf: probability 0.200 of its identity, below 0.300",
        "filter cctf: probability 0.200 of its identity, below 0.300; clip: probability 0.100 of "
        "the wanted text, below 0.600",
        "filter cctf: the classifier was not trained on its identity",
    ]


def test_unused_filters_do_not_decide():
    rows = [row(0, scored(0.1, -0.5, cctf=0.0, clip=0.0))]
    assert statuses(decided(rows, dataclasses.replace(REID, use=()))) == ["ok"]


def test_better_of_near_duplicates_is_kept():
    rows = [row(0, scored(0.7)), row(1, scored(0.8)), row(2, scored(0.6))]
    hashes = ["0000000000000000", "0000000000000007", "ffffffff00000000"]  # 3 bits, 35 bits
    thresholds = dataclasses.replace(REID, use=("reid", "duplicates"), duplicates=4)
    found = decided(rows, thresholds, hashes)
    assert statuses(found) == ["rejected", "ok", "ok"]
    assert found[0].reason == "filter duplicates: 3 bits from a better image, below 4"
    # 0: to the kept 1; 1: nothing kept before; 2: to the kept 1.
    assert [image.scores["duplicate_distance"] for image in found] == [3, 64, 35]


def test_duplicate_of_a_rejected_image_is_kept():
    rows = [row(0, scored(0.9, -0.1)), row(1, scored(0.8))]
    thresholds = dataclasses.replace(REID, use=("reid", "duplicates"))
    assert statuses(decided(rows, thresholds, ["0" * 16] * 2)) == ["rejected", "ok"]


def test_first_of_duplicates_is_kept_without_a_model():
    rows = [row(0, {}), row(1, {})]
    thresholds = dataclasses.replace(REID, use=("duplicates",))
    assert statuses(decided(rows, thresholds, ["0" * 16] * 2)) == ["ok", "rejected"]


def test_max_images_keeps_the_best():
    rows = [row(n, scored(value)) for n, value in enumerate([0.6, 0.9, 0.7, 0.8, 0.1])]
    found = decided(rows, dataclasses.replace(REID, max_images=2))
    assert statuses(found) == ["rejected", "ok", "rejected", "ok", "rejected"]
    assert found[0].reason == "filter limit: 2 better images are kept (MAX_PER_IDENTITY)"
    assert found[4].reason.startswith("filter reid")


def test_min_images_keeps_the_best_of_the_rejected():
    values = [(0.6, -0.1), (0.9, -0.2), (0.7, 0.1), (0.4, 0.1), (0.3, 0.1)]
    rows = [row(n, scored(*pair)) for n, pair in enumerate(values)]
    thresholds = dataclasses.replace(REID, min_images=3)
    found = decided(rows, thresholds)
    assert statuses(found) == ["ok", "ok", "ok", "rejected", "rejected"]
    assert found[0].reason == ""
    again = [dataclasses.replace(r, image=i) for r, i in zip(rows, found, strict=True)]
    assert decided(again, thresholds) == found
    assert statuses(decided(rows, dataclasses.replace(REID, min_images=9))) == ["ok"] * 5


def test_min_images_skips_unreadable_duplicate_and_foreign_images():
    rows = [row(n, scored(0.9 - 0.1 * n, -0.1)) for n in range(3)]
    rows.append(row(3, scored(0.5, -0.1), status="rejected", reason="no face"))
    hashes = ["0" * 16, "0" * 16, "f" * 16, "a" * 16]
    records = files(rows, hashes)
    records["0.png"] = FileRecord(records["0.png"].sha256, "", "cannot read image")
    thresholds = dataclasses.replace(REID, use=("reid", "duplicates"), min_images=9)
    assert statuses(decide(rows, records, thresholds)) == ["rejected", "ok", "ok", "rejected"]
    copies = decide(rows, files(rows, hashes), thresholds)
    assert statuses(copies) == ["ok", "rejected", "ok", "rejected"]


def test_foreign_rejections_and_failures_stay():
    failed = row(1, {}, status="failed", reason="NaN latents", sha256="")
    rows = [row(0, scored(), status="rejected", reason="no face"), failed]
    found = decide(rows, files(rows[:1]), REID)
    assert statuses(found) == ["rejected", "failed"]
    assert found[0].reason == "no face"
    assert found[1] == failed.image


def test_unreadable_file_is_rejected_by_any_filters():
    rows = [row(0, scored(-1, -2))]
    record = {"0.png": FileRecord(rows[0].image.sha256, "", "cannot read image 0.png")}
    found = decide(rows, record, dataclasses.replace(REID, use=()))[0]
    assert (found.status, found.reason) == (
        "rejected",
        "filter unreadable: cannot read image 0.png",
    )
    assert found.scores["duplicate_distance"] == -1


def test_deciding_again_replaces_the_decision():
    rows = [row(n, scored(value)) for n, value in enumerate([0.6, 0.9, 0.4])]
    strict = decided(rows, dataclasses.replace(REID, reid={"S": 0.95}))
    assert statuses(strict) == ["rejected"] * 3
    again = [dataclasses.replace(r, image=image) for r, image in zip(rows, strict, strict=True)]
    assert decided(again, REID) == decided(rows, REID)
    assert statuses(decided(again, REID)) == ["ok", "ok", "rejected"]


def test_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(1)
    rows = [row(n, scored(value)) for n, value in enumerate(rng.uniform(0.3, 1, 20))]
    hashes = [f"{rng.integers(0, 8):016x}" for _ in rows]
    thresholds = dataclasses.replace(REID, use=("reid", "duplicates"), max_images=5, duplicates=2)
    straight = {image.file_name: image for image in decided(rows, thresholds, hashes)}
    turned = decided(rows[::-1], thresholds, hashes[::-1])
    assert {image.file_name: image for image in turned} == straight


def test_missing_score_names_the_command():
    with pytest.raises(
        ValueError,
        match=r"S_0001/metadata.jsonl:1: expected the score clip for filter clip.*got "
        r"\['reid_margin', 'reid_similarity'\].*without --decide-only",
    ):
        decided([row(0, scored())], dataclasses.replace(REID, use=("clip",)))
