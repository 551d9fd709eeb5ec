import hashlib

import pytest
from fastreid.config import CfgNode

from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.writer import render_domain
from tests.tiny_cfg import tiny_cfg


@pytest.fixture(scope="session")
def rendered_root(tmp_path_factory):
    """A root with a tiny RenderedCampus of 6 training identities, 6 images each."""
    root = tmp_path_factory.mktemp("posed")
    settings = Settings(
        "RenderedCampus",
        train_identities=6,
        test_identities=2,
        images_per_identity=6,
        seed=3,
        height=64,
        width=32,
    )
    render_domain(settings, root)
    return root


@pytest.fixture(scope="session")
def start_folder(tmp_path_factory):
    """A tiny generator, as a folder to start from."""
    folder = tmp_path_factory.mktemp("start") / "generator"
    tiny_pose_guided().save_pretrained(folder)
    return folder


@pytest.fixture
def guided_cfg(rendered_root, start_folder, tmp_path):
    """Give a configuration of a training of seconds; keys of GENERATION.POSE_GUIDED by name."""

    def make(output="run", **changes) -> CfgNode:
        guided = {
            "START": str(start_folder),
            "SIZE": [32, 16],
            "CROPS": 2,
            "BATCH_SIZE": 4,
            "ITERATIONS": 6,
            "BASE_LR": 1e-3,
            "EMA": 0.9,
            "WORKERS": 0,
            "CHECKPOINT_PERIOD": 2,
            "SAMPLE_PERIOD": 100,
        } | changes
        keys = {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("RenderedCampus",),
            "DATASETS.ROOT": str(rendered_root),
            "GENERATION.DTYPE": "float32",
            "SEED": 5,
            "OUTPUT_DIR": str(tmp_path / output),
        }
        return tiny_cfg(keys | {f"GENERATION.POSE_GUIDED.{k}": v for k, v in guided.items()})

    return make


@pytest.fixture
def job_cfg(rendered_root, start_folder, tmp_path):
    """Give the configuration of a job of seconds; keys by their full names."""

    def make(output="job", **changes):
        keys = {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("RenderedCampus",),
            "DATASETS.ROOT": str(rendered_root),
            "GENERATION.DTYPE": "float32",
            "GENERATION.MAX_FAILED": 0.5,
            "GENERATION.POSE_GUIDED.SIZE": [32, 16],
            "GENERATION.POSE_PLAN.GENERATOR": str(start_folder),
            "GENERATION.POSE_PLAN.PER_IDENTITY": 3,
            "GENERATION.POSE_PLAN.BANK": 8,
            "GENERATION.POSE_PLAN.POSE_CLUSTERS": 2,
            "GENERATION.POSE_PLAN.REFERENCES": 2,
            "GENERATION.SAMPLING.STEPS": 2,
            "GENERATION.SAMPLING.GUIDANCE_SCALE": 2.0,
            "GENERATION.SAMPLING.BATCH_SIZE": 2,
            "GENERATION.SAMPLING.SAVE_SIZE": [32, 16],
            "GENERATION.FILTER.USE": ["duplicates"],
            "GENERATION.FILTER.DUPLICATES.MIN_DISTANCE": 1,
            "GENERATION.IDENTITIES.MIN_HEIGHT": 0,
            "SEED": 5,
            "OUTPUT_DIR": str(tmp_path / output),
        }
        return tiny_cfg(keys | changes)

    return make


def no_models(cfg):
    return {}


def contents(folder):
    """Map the files of a generated set, the card and pictures aside, to their bytes' hash."""
    files = [*folder.rglob("*.jpg"), *folder.rglob("metadata.jsonl")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
