"""Copies of a generated set with other decisions; scores are given, so that the truth is exact."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.config import load_config
from fastreid_ext.generation.generated_set.copies import decided_copy
from fastreid_ext.manifest import (
    GeneratedImage,
    GeneratedSet,
    read_set,
    sha256_of,
    verify_set,
    write_identity,
    write_set,
)

# Similarity, probability of the classifier.
SCORES = ((0.9, 0.1), (0.8, 0.9), (0.7, 0.8), (0.3, 0.9), (0.2, 0.2))


@pytest.fixture
def job(tmp_path):
    """Two identities with five images each, the last two rejected by the Re-ID filter."""
    rng = np.random.default_rng(0)
    for pid in (1, 2):
        folder = tmp_path / "job" / "images" / f"Market1501_{pid:04d}"
        rows = []
        folder.mkdir(parents=True)
        for index, (similarity, probability) in enumerate(SCORES):
            name = f"{index}.png"
            Image.fromarray(rng.integers(0, 256, (32, 16, 3), np.uint8)).save(folder / name)
            rows.append(
                GeneratedImage(
                    file_name=name,
                    source_dataset="Market1501",
                    person_id=pid,
                    seed=index,
                    model_ids=("tiny@1",),
                    sha256=sha256_of(folder / name),
                    scores={
                        "reid_similarity": similarity,
                        "reid_margin": 0.1,
                        "cctf": probability,
                        "duplicate_distance": -1.0,
                    },
                )
            )
        write_identity(folder, rows)
    write_set(tmp_path / "job" / "images", GeneratedSet(generator="tests 1.0"))
    (tmp_path / "job" / "images" / "README.md").write_text("10 images")
    (tmp_path / "job" / "filter").mkdir()
    (tmp_path / "job" / "filter" / "contact_sheet.png").write_bytes(b"a picture")
    return tmp_path / "job"


def cfg_of(*use, **keys):
    pairs = ["MODEL.DEVICE", "cpu", "GENERATION.FILTER.USE", str(list(use))]
    pairs += ["GENERATION.FILTER.REID.RULE", "fixed"] if "reid" in use else []
    return load_config("", pairs + [str(part) for pair in keys.items() for part in pair])


def kept(root):
    return [
        (row.image.person_id, row.image.seed)
        for row in read_set(root)[1]
        if row.image.status == "ok"
    ]


@pytest.mark.parametrize(
    ("use", "expected"),
    [((), [0, 1, 2, 3, 4]), (("reid",), [0, 1, 2]), (("cctf",), [1, 2, 3])],
    ids=["none", "reid", "cctf"],
)
def test_copy_is_decided_by_its_own_filters(job, tmp_path, use, expected):
    before = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    root = decided_copy(cfg_of(*use), job, tmp_path / "copy")
    assert kept(root) == [(pid, seed) for pid in (1, 2) for seed in expected]
    assert verify_set(root) == []
    assert not list((tmp_path / "copy").rglob("*README.md"))
    assert read_set(root)[0].counts["ok"] == 2 * len(expected)
    assert {path: path.read_bytes() for path in job.rglob("*") if path.is_file()} == before


def test_copy_of_a_smaller_share_lies_in_that_of_a_larger(job, tmp_path):
    """Of three that are kept: one, two, all; nothing else is in such a copy."""
    made = {
        share: decided_copy(cfg_of("reid"), job, tmp_path / str(share), share=share)
        for share in (0.1, 0.34, 0.67, 1.0)
    }
    chosen = {share: set(kept(root)) for share, root in made.items()}
    assert [len(chosen[share]) for share in made] == [2, 2, 4, 6]
    assert chosen[0.1] <= chosen[0.34] <= chosen[0.67] <= chosen[1.0]
    assert len(list(made[0.67].glob("*/*.png"))) == 4
    assert all(verify_set(root) == [] for root in made.values())


def test_copy_that_exists_is_kept(job, tmp_path):
    first = decided_copy(cfg_of("reid"), job, tmp_path / "copy")
    before = (first / "dataset.json").stat().st_mtime_ns
    assert decided_copy(cfg_of("reid"), job, tmp_path / "copy") == first
    assert (first / "dataset.json").stat().st_mtime_ns == before
    assert len(kept(first)) == 6


def test_copy_with_other_thresholds_is_refused(job, tmp_path):
    decided_copy(cfg_of("reid"), job, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"use was \['reid'\], is \['cctf'\].*; remove it and"):
        decided_copy(cfg_of("cctf"), job, tmp_path / "copy")
    stricter = cfg_of("reid", **{"GENERATION.FILTER.REID.THRESHOLD": 0.75})
    with pytest.raises(ValueError, match=r"reid was \{'': 0.6\}, is \{'': 0.75\}"):
        decided_copy(stricter, job, tmp_path / "copy")


def test_copy_that_was_interrupted_is_made_again(job, tmp_path):
    partial = tmp_path / ".copy.partial" / "images" / "Market1501_0001"
    partial.mkdir(parents=True)
    (partial / "0.png").write_bytes(b"half")
    assert len(kept(decided_copy(cfg_of("reid"), job, tmp_path / "copy"))) == 6


def test_missing_scores_and_jobs_are_named(job, tmp_path):
    with pytest.raises(ValueError, match="expected the score clip for filter clip"):
        decided_copy(cfg_of("clip"), job, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(FileNotFoundError, match="no generated set at"):
        decided_copy(cfg_of(), tmp_path / "other", tmp_path / "copy")
    with pytest.raises(ValueError, match=r"expected a share of the images in \(0, 1\], got 0"):
        decided_copy(cfg_of(), job, tmp_path / "copy", share=0)
