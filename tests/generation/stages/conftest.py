"""A small job on tiny real models, run once for all tests of a session."""

import dataclasses
import hashlib
import shutil

import cv2
import numpy as np
import pytest
from fastreid.config import get_cfg

from fastreid_ext.checks.table import unread_keys
from fastreid_ext.config import load_config
from fastreid_ext.generation.stages import fine_tune_and_sample
from fastreid_ext.generation.stages.folder import open_job
from fastreid_ext.generation.stages.generate import generate

PERSONS = 4
IMAGES = 3


def write_market(root, persons=PERSONS):
    """A Market-style folder of people who are one colour with some noise."""
    rng = np.random.default_rng(0)
    folder = root / "bounding_box_train"
    folder.mkdir(parents=True)
    for person in range(1, persons + 1):
        colour = rng.integers(30, 220, 3)
        for frame in range(IMAGES):
            image = np.clip(colour + rng.normal(0, 25, (128, 64, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}_c1s1_{frame:06d}_00.jpg"), image)
    for other in ("query", "bounding_box_test"):
        shutil.copytree(folder, root / other)


@pytest.fixture(scope="session")
def market(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    write_market(root)
    return root


@pytest.fixture(scope="session")
def models(tiny_pipeline_folder, tiny_clip_folder, tiny_blip_folder):
    return {
        "BASE_MODEL": tiny_pipeline_folder,
        "CAPTIONS.TEXT_MODEL": tiny_clip_folder,
        "CAPTIONS.CAPTIONER": tiny_blip_folder,
        "FILTER.CLIP.MODEL": tiny_clip_folder,
    }


@pytest.fixture(scope="session")
def settings_of(market, models):
    """Makes the configuration of a small job; keys below GENERATION."""
    people = market

    def make(output, market=people, **keys):
        small = {
            "DTYPE": "float32",
            "MAX_FAILED": 0.3,  # one of the four
            "SIZE": [32, 16],
            "CAPTIONS.MAX_TOKENS": 8,
            "CAPTIONS.QUESTIONS": [""],
            "CAPTIONS.BEAMS": 1,
            "REFERENCE_SET.IMAGES": 3,
            "FINE_TUNING.STEPS": 2,
            "FINE_TUNING.IDENTITIES_AT_ONCE": 1,
            "SAMPLING.IMAGES_PER_IDENTITY": 3,
            "SAMPLING.STEPS": 2,
            "SAMPLING.BATCH_SIZE": 2,
            "SAMPLING.SAVE_SIZE": [64, 32],
            "FILTER.USE": ["duplicates"],
        }
        pairs = {f"GENERATION.{key}": value for key, value in (models | small | keys).items()}
        pairs |= {"MODEL.DEVICE": "cpu", "SEED": 0, "OUTPUT_DIR": output}
        pairs |= {"DATASETS.NAMES": ("PersonFolder",), "DATASETS.FOLDER": market}
        cfg = get_cfg()
        cfg.merge_from_list([str(part) for pair in pairs.items() for part in pair])
        for key in unread_keys(cfg):  # what a test's keys leave unread would be refused
            if key.removeprefix("GENERATION.") not in keys:
                pairs.pop(key, None)
        return load_config("", [str(part) for pair in pairs.items() for part in pair])

    return make


@pytest.fixture(scope="session")
def run_job():
    """Runs, or continues, a job; ``worker`` changes the worker."""

    def run(cfg, worker=None, **kwargs):
        place = {key: kwargs.pop(key) for key in ("shard", "wait") if key in kwargs}
        with open_job(cfg, **place) as opened:
            changed = dataclasses.replace(opened.worker, **(worker or {}))
            return generate(dataclasses.replace(opened, worker=changed), lambda _: {}, **kwargs)

    return run


@pytest.fixture(scope="session")
def contents():
    """Hash the results of a job; seconds, histories and locks differ between equal jobs."""
    kinds = ("*.jpg", "*.jsonl", "*.safetensors", "captions/*.json", "dataset.json", "README.md")

    def of(output):
        found = {path for kind in kinds for path in output.rglob(kind)}
        return {
            str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(found)
        }

    return of


@pytest.fixture(scope="session")
def whole(settings_of, run_job, tmp_path_factory):
    """An uninterrupted job, and what it said."""
    output = tmp_path_factory.mktemp("whole") / "job"
    report = run_job(settings_of(output))
    return output, report


@pytest.fixture
def groups(monkeypatch):
    """Names of each group of identities that is fine-tuned and sampled together, as it comes."""
    found = []
    work = fine_tune_and_sample._GroupWork.__call__
    monkeypatch.setattr(
        fine_tune_and_sample._GroupWork,
        "__call__",
        lambda self, names: found.append(names) or work(self, names),
    )
    return found
