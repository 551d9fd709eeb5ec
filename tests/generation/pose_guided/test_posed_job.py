"""The job of a pose-guided generator, from a rendered set to a generated one."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.generation.runs.stage import failures
from fastreid_ext.generation.stages import posed
from fastreid_ext.generation.stages.posed import PosedSampling, generate_posed
from fastreid_ext.generation.stages.verify import verify_job
from fastreid_ext.manifest import read_identity
from tests.tiny_cfg import tiny_cfg

pytestmark = pytest.mark.slow


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


def test_a_job_makes_a_set_that_trains(job_cfg, tmp_path):
    cfg = job_cfg()
    report = generate_posed(cfg, no_models)
    assert (report.identities, report.generated, dict(report.failed)) == (6, 6, {})
    assert sum(report.counts.values()) == 18
    images = tmp_path / "job" / "images"
    assert verify_job(posed.finished_job(cfg)) == []
    row = read_identity(images / "RenderedCampus_0001")[2].image
    assert row.conditions.keys() == {"pose", "azimuth_deg", "elevation_deg"}
    assert row.camera_id == -1  # of no camera of the set: the synthetic-camera rule
    assert row.source_images[0].startswith("bounding_box_train/0001_")
    assert "pose-guided" in (images / "README.md").read_text()
    training = tiny_cfg(
        {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("GeneratedPersons",),
            "DATASETS.GENERATED.ROOTS": [str(images)],
        }
    )
    generated = open_dataset(training, "GeneratedPersons")
    assert len(generated.train) == report.counts["ok"]


def test_a_killed_job_gives_the_same_bytes(job_cfg, tmp_path, monkeypatch):
    generate_posed(job_cfg("whole"), no_models)
    own = PosedSampling._generate
    done = []

    def dying(self, name):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        own(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(PosedSampling, "_generate", dying)
        with pytest.raises(KeyboardInterrupt):
            generate_posed(job_cfg("killed"), no_models)
    generate_posed(job_cfg("killed"), no_models)
    expected = contents(tmp_path / "whole" / "images")
    assert len(expected) == 24
    assert contents(tmp_path / "killed" / "images") == expected


def test_shards_make_the_set_of_one_worker(job_cfg, tmp_path):
    generate_posed(job_cfg("whole"), no_models)
    for shard in ("0/2", "1/2"):
        generate_posed(job_cfg("shards"), no_models, stages=("plan", "sample"), shard=shard)
    generate_posed(job_cfg("shards"), no_models, stages=("filter",))
    assert contents(tmp_path / "shards" / "images") == contents(tmp_path / "whole" / "images")


def test_an_unreadable_reference_fails_its_identity_alone(job_cfg, tmp_path, rendered_root):
    root = tmp_path / "damaged"
    shutil.copytree(rendered_root, root)
    cfg = job_cfg(**{"DATASETS.ROOT": str(root)})
    plan = posed.make_plan(cfg)
    used = {one.reference for one in plan.images if one.pid == 2}
    generate_posed(cfg, no_models, stages=("plan",))  # lists the identities
    for name in used:
        (root / "RenderedCampus" / name).write_bytes(b"no image")
    report = generate_posed(cfg, no_models, stages=("plan", "sample"))
    assert report.generated == 5
    assert list(failures(tmp_path / "job", "sample")) == ["RenderedCampus_0002"]
    assert "cannot read the image" in report.failed["RenderedCampus_0002"]


def test_features_of_references_are_computed_once_an_identity(job_cfg, monkeypatch):
    calls = []
    own = PoseGuidedPipeline.encode_references

    def counted(self, images):
        calls.append(len(images))
        return own(self, images)

    monkeypatch.setattr(PoseGuidedPipeline, "encode_references", counted)
    generate_posed(job_cfg(), no_models, stages=("plan", "sample"))
    assert calls == [2] * 6


def test_condition_maps_show_the_planned_view(job_cfg):
    """The skeleton from behind mirrors that from the front."""
    plan = posed.make_plan(job_cfg(**{"GENERATION.POSE_PLAN.PLACEMENT": False}))
    body = load_body()
    pose = np.zeros((24, 3))
    front = replace(plan.images[0], azimuth_deg=0.0, elevation_deg=0.0)
    back = replace(front, azimuth_deg=180.0)
    masks = [
        posed.request_of(one, np.zeros(10), pose, body, (64, 32)).render(body).mask
        for one in (front, back)
    ]
    assert (masks[0] == masks[1][:, ::-1]).mean() > 0.97


def test_a_job_without_a_generator_is_refused(job_cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"GENERATION\.POSE_PLAN\.GENERATOR, got ''; train"):
        generate_posed(job_cfg(**{"GENERATION.POSE_PLAN.GENERATOR": ""}), no_models)
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json there"):
        generate_posed(job_cfg(**{"GENERATION.POSE_PLAN.GENERATOR": str(tmp_path)}), no_models)


def test_other_settings_in_the_same_folder_are_refused(job_cfg):
    generate_posed(job_cfg(), no_models, stages=("plan", "sample"))
    with pytest.raises(ValueError, match=r"GUIDANCE_SCALE was 2\.0, is 3\.0"):
        generate_posed(job_cfg(**{"GENERATION.SAMPLING.GUIDANCE_SCALE": 3.0}), no_models)


def test_seeds_do_not_depend_on_the_number_of_images(job_cfg, tmp_path):
    generate_posed(job_cfg("few"), no_models, stages=("plan", "sample"))
    more = job_cfg("many", **{"GENERATION.POSE_PLAN.PER_IDENTITY": 4})
    generate_posed(more, no_models, stages=("plan", "sample"))
    name = "RenderedCampus_0003/RenderedCampus_0003_0001.jpg"
    few = tmp_path / "few" / "images" / name
    many = tmp_path / "many" / "images" / name
    assert few.read_bytes() == many.read_bytes()
    assert json.loads((tmp_path / "few" / "plan.json").read_text())["SEED"] == 5
