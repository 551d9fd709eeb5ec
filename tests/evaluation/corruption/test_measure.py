"""The -C evaluation on image files with a model of mean colours: parts, resuming, pixels."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid_ext.data.build import build_test_loader
from fastreid_ext.evaluation.corruption.corrupted_images import Part, test_images
from fastreid_ext.evaluation.corruption.index import sample_index
from fastreid_ext.evaluation.corruption.measure import CorruptionEvaluation
from fastreid_ext.evaluation.corruption.pixels import compare_pixels, pixels_file
from fastreid_ext.evaluation.corruption.results import CorruptionResults
from fastreid_ext.evaluation.features import extract_features

from ...tiny_cfg import tiny_cfg
from .conftest import SOME

IDENTITIES = 6
CAMERAS = 3


class Colours(nn.Module):
    """Mean colours of a grid of patches; it finds identities by colour, and fog harms it."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def forward(self, batch):
        self.batches += 1
        return nn.functional.adaptive_avg_pool2d(batch["images"].float() - 128, (4, 2)).flatten(1)


class Killed(Colours):
    """Model that ends its process as ``kill -9`` does, in the batch ``last``."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def forward(self, batch):
        if self.batches == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write images of six identities, two colours each, by three cameras; queries by camera 1."""
    root = tmp_path_factory.mktemp("datasets")
    rng = np.random.default_rng(0)
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        folder = root / "Market-1501-v15.09.15" / split
        folder.mkdir(parents=True)
        for pid in range(1, IDENTITIES + 1):
            top, bottom = np.random.default_rng(pid).integers(60, 190, (2, 3))
            for camera in [1] if split == "query" else range(1, CAMERAS + 1):
                image = rng.normal(0, 8, (64, 32, 3)) + 8 * camera
                image[:32] += top
                image[32:] += bottom
                pixels = np.clip(image, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{pid:04d}_c{camera}s1_000000_00.jpg")
    return root


@pytest.fixture
def make(root, tmp_path):
    """Make a function that builds an evaluation of Colours (or a given model)."""

    def build(folder="parts", corrupt="both", model=None, index=None, **changes):
        keys = {
            "MODEL.DEVICE": "cpu",
            "MODEL.BACKBONE.PRETRAIN": False,
            "INPUT.SIZE_TEST": [64, 32],
            "DATASETS.ROOT": str(root),
            "DATASETS.TESTS": ("Market1501",),
            "TEST.IMS_PER_BATCH": 4,
            "TEST.NUM_WORKERS": 0,
        }
        cfg = tiny_cfg(keys, **changes)
        images = test_images(cfg, "Market1501")
        return CorruptionEvaluation(
            cfg=cfg,
            model=lambda: Colours() if model is None else model,
            images=images,
            index=index or market_index(images),
            corrupt=corrupt,
            folder=tmp_path / folder,
        )

    return build


def market_index(images, **changes):
    return sample_index(
        "Market1501", images.files("both"), **{"repeats": 4, "corruptions": SOME, **changes}
    )


def results_of(measured):
    return CorruptionResults("Market1501", "both", "0123456789abcdef0123", measured)


# --- protocol


@pytest.mark.parametrize(("corrupt", "changed"), [("query", 0), ("gallery", 1), ("both", None)])
def test_features_of_the_other_side_stay_clean(corrupt, changed, make):
    evaluation = make(corrupt=corrupt)
    (clean, _), (corrupted, hashes) = evaluation.features([Part(), Part(repeat=0)])
    sides = [(part[:IDENTITIES], part[IDENTITIES:]) for part in (clean, corrupted)]
    equal = [torch.equal(before, after) for before, after in zip(*sides, strict=True)]
    assert equal == [changed == 1, changed == 0]
    assert len(hashes) == {"query": 6, "gallery": 18, "both": 24}[corrupt]


def test_features_of_the_clean_side_are_computed_once(make):
    model = Colours()
    make(corrupt="query", model=model).run(repeats=4, grid=False)
    assert model.batches == 5 + 2 * 5  # gallery once, 18 images; 6 queries clean and in 4 repeats


def test_features_of_the_clean_part_equal_the_usual_evaluation(make):
    evaluation = make()
    loader, num_query = build_test_loader(evaluation._cfg, "Market1501")
    usual = extract_features(Colours(), loader, num_query)
    torch.testing.assert_close(
        next(evaluation.features([Part()]))[0], usual.features, rtol=0, atol=1e-4
    )
    measured = evaluation.run(repeats=1, grid=False)
    assert measured.clean["mAP"] == pytest.approx(usual.metrics("cosine").percentages()["mAP"])


def test_corruptions_lower_the_metrics(make):
    measured = make().run(repeats=4, grid=True)
    assert measured.clean["Rank-1"] == 100
    assert np.mean([metrics["mAP"] for metrics in measured.repeats]) < measured.clean["mAP"] - 10
    assert measured.grid["fog"][5]["mAP"] < measured.clean["mAP"] - 10
    assert list(measured.grid) == list(SOME)
    assert list(measured.grid["fog"]) == [1, 2, 3, 4, 5]


def test_results_mean_and_deviation_equal_those_of_the_stored_repeats(make, tmp_path):
    results = results_of(make().run(repeats=4, grid=False))
    stored = [json.loads((tmp_path / f"parts/repeat_{k}.json").read_text()) for k in range(4)]
    for metric in ("Rank-1", "mAP", "mINP"):
        values = np.array([part["metrics"][metric] for part in stored])
        assert len(set(values)) > 1 or metric == "Rank-1"
        assert results.corrupted(metric).mean == pytest.approx(values.mean())
        assert results.corrupted(metric).spread == pytest.approx(values.std(ddof=1))


def test_metrics_do_not_depend_on_the_number_of_workers(make):
    alone = make("alone", TEST__NUM_WORKERS=0).run(repeats=2, grid=False)
    shared = make("shared", TEST__NUM_WORKERS=2).run(repeats=2, grid=False)
    assert alone == shared


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pixels_on_a_gpu_equal_those_on_the_cpu(make):
    on_cpu = make("cpu", MODEL__DEVICE="cpu", TEST__NUM_WORKERS=2).run(repeats=2, grid=False)
    on_gpu = make("cuda", MODEL__DEVICE="cuda", TEST__NUM_WORKERS=2).run(repeats=2, grid=False)
    assert on_gpu.pixels == on_cpu.pixels
    for ours, theirs in zip(on_gpu.repeats, on_cpu.repeats, strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)


def test_metrics_depend_on_flip_and_reranking(make):
    plain = make("plain").run(repeats=1, grid=False)
    flipped = make("flip", TEST__FLIP__ENABLED=True).run(repeats=1, grid=False)
    reranked = make("rerank", TEST__RERANK__ENABLED=True).run(repeats=1, grid=False)
    assert plain.repeats[0]["mAP"] != flipped.repeats[0]["mAP"]
    assert plain.repeats[0]["mAP"] != reranked.repeats[0]["mAP"]
    assert plain.pixels == flipped.pixels


# --- resuming


def test_run_resumes_after_kill_9(make, tmp_path):
    """Killed in repeat 2: finished parts are not evaluated again, and all numbers are equal."""
    whole = make("whole").run(repeats=4, grid=True)
    per_part = 2 + 5  # batches of 4 of 6 queries and 18 gallery images
    context = multiprocessing.get_context("fork")
    killed = make("killed", model=Killed(3 * per_part + 4))
    process = context.Process(target=killed.run, kwargs={"repeats": 4, "grid": True})
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    kept = {path.name: path.read_bytes() for path in (tmp_path / "killed").glob("*.json")}
    assert sorted(kept) == ["clean.json", "repeat_0.json", "repeat_1.json"]
    model = Colours()
    assert make("killed", model=model).run(repeats=4, grid=True) == whole
    assert model.batches == (2 + 15) * per_part
    for name, content in kept.items():
        assert (tmp_path / "killed" / name).read_bytes() == content


def test_run_of_finished_parts_builds_no_model(make):
    first = make().run(repeats=2, grid=False)
    evaluation = make()
    evaluation._build_model = None
    assert evaluation.run(repeats=2, grid=False) == first


def test_run_adds_repeats_of_one_side_later(make):
    whole = make("whole", corrupt="query").run(repeats=3, grid=False)
    make("later", corrupt="query").run(repeats=1, grid=False)
    assert make("later", corrupt="query").run(repeats=3, grid=False) == whole


# --- pixels


def test_compare_pixels_keeps_and_compares(make, tmp_path):
    evaluation = make()
    measured = evaluation.run(repeats=2, grid=False)
    index = evaluation._index
    file = tmp_path / "index.jsonl.gz"
    assert pixels_file(file).name == "index.pixels.jsonl"
    assert compare_pixels(file, index, measured.pixels, write=False) is None
    assert not pixels_file(file).exists()
    assert compare_pixels(file, index, measured.pixels, write=True) is None
    same = compare_pixels(file, index, measured.pixels, write=True)
    assert (same["compared"], same["different"], same["share"]) == (48, 0, 0.0)
    name = index.names[3]
    measured.pixels[1][name] ^= 1
    other = compare_pixels(file, index, measured.pixels, write=False)
    assert (other["different"], other["share"]) == (1, 1 / 48)
    assert other["different_by_corruption"] == {index.in_repeat(3, 1).name: 1}


def test_compare_pixels_refuses_another_index(make, tmp_path):
    evaluation = make()
    measured = evaluation.run(repeats=1, grid=False)
    index = evaluation._index
    file = tmp_path / "index.jsonl"
    compare_pixels(file, index, measured.pixels, write=True)
    other = market_index(evaluation._images, seed=1)
    with pytest.raises(ValueError, match=r"expected hashes for the index .* of another index"):
        compare_pixels(file, other, measured.pixels, write=False)
    pixels_file(file).write_text("{}\n")
    with pytest.raises(ValueError, match=r"expected lines of JSON with an image and its pixels"):
        compare_pixels(file, index, measured.pixels, write=False)
