"""The job of a pose-guided generator, from a rendered set to a generated one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.generation.pose_plan.plan import make_plan
from fastreid_ext.generation.runs.stage import failures
from fastreid_ext.generation.sampling.posed_images import PosedImages, request_of
from fastreid_ext.generation.stages.posed import generate_posed, verify_posed
from fastreid_ext.manifest import read_identity
from tests.generation.pose_guided.conftest import contents, no_models
from tests.tiny_cfg import tiny_cfg

pytestmark = pytest.mark.slow


def test_a_job_makes_a_set_that_trains(job_cfg, tmp_path):
    cfg = job_cfg()
    report = generate_posed(cfg, no_models)
    assert (report.identities, report.generated, dict(report.failed)) == (6, 6, {})
    assert sum(report.counts.values()) == 18
    images = tmp_path / "job" / "images"
    problems, found = verify_posed(cfg)
    assert problems == []
    assert (found.identities, found.generated) == (6, 6)
    row = read_identity(images / "RenderedCampus_0001")[2].image
    assert row.conditions.keys() == {"pose", "azimuth_deg", "elevation_deg"}
    assert row.camera_id == -1  # of no camera of the set: the synthetic-camera rule
    assert row.source_images[0].startswith("bounding_box_train/0001_")
    card = (images / "README.md").read_text()
    assert "from another viewpoint, by a pose-guided diffusion model (Diff-ID" in card
    assert "fine-tuned" not in card
    assert json.loads((images / "dataset.json").read_text())["generator"].endswith(
        "tools/pose_persons.py"
    )
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
    own = PosedImages.generate
    done = []

    def dying(self, name):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        own(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(PosedImages, "generate", dying)
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
    plan = make_plan(cfg)
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
    assert calls == [1] * 12  # 6 identities of 2 references, each read alone for its 3 images


def test_an_image_depends_on_its_own_row_alone(job_cfg, tmp_path):
    """Rows of other images, and with them batches and references, may be missing."""
    cfg = job_cfg("whole", **{"GENERATION.POSE_PLAN.PER_IDENTITY": 4})
    generate_posed(cfg, no_models, stages=("plan", "sample"))
    whole = tmp_path / "whole"
    part = tmp_path / "part"
    part.mkdir()
    for name in ("plan.json", "poses.npz"):
        shutil.copy(whole / name, part / name)
    rows = [json.loads(line) for line in (whole / "plan.jsonl").read_text().splitlines()]
    fewer = [row for row in rows if row["number"] == 3]
    (part / "plan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fewer))
    generate_posed(
        job_cfg("part", **{"GENERATION.POSE_PLAN.PER_IDENTITY": 4}),
        no_models,
        stages=("plan", "sample"),
    )
    for pid in (1, 2):
        name = f"images/RenderedCampus_{pid:04d}/RenderedCampus_{pid:04d}_0003.jpg"
        assert (whole / name).read_bytes() == (part / name).read_bytes()


def test_further_images_for_the_filters_are_refused(job_cfg):
    cfg = job_cfg(**{"GENERATION.SAMPLING.MIN_KEPT": 2})
    with pytest.raises(ValueError, match=r"MIN_KEPT 0 with a plan.*got 2; set it 0 and raise"):
        generate_posed(cfg, no_models)


def test_another_generator_in_the_same_folder_is_refused(job_cfg, start_folder, tmp_path):
    folder = tmp_path / "generator"
    shutil.copytree(start_folder, folder)
    cfg = job_cfg(**{"GENERATION.POSE_PLAN.GENERATOR": str(folder)})
    generate_posed(cfg, no_models, stages=("plan", "sample"), shard="0/2")
    tiny_pose_guided(seed=9).save_pretrained(folder)
    with pytest.raises(ValueError, match="images of another generator in the same folder"):
        generate_posed(cfg, no_models, stages=("plan", "sample"), shard="1/2")


def test_identities_that_are_all_left_out_are_refused(job_cfg):
    with pytest.raises(ValueError, match="none of 6 identities can be used"):
        generate_posed(job_cfg(**{"GENERATION.IDENTITIES.MIN_HEIGHT": 900}), no_models)


def test_planned_identities_that_are_left_out_are_named(job_cfg, rendered_root, tmp_path, caplog):
    root = tmp_path / "damaged"
    shutil.copytree(rendered_root, root)
    for file in (root / "RenderedCampus").glob("bounding_box_train/0002_*"):
        file.write_bytes(b"no image")
    cfg = job_cfg(**{"DATASETS.ROOT": str(root)})
    report = generate_posed(cfg, no_models, stages=("plan", "sample"))
    assert (report.identities, report.generated) == (5, 5)
    assert "1 planned identities are not generated, e.g. RenderedCampus_0002" in caplog.text


def test_condition_maps_show_the_planned_view(job_cfg):
    """The skeleton from behind mirrors that from the front."""
    plan = make_plan(job_cfg(**{"GENERATION.POSE_PLAN.PLACEMENT": False}))
    body = load_body()
    pose = np.zeros((24, 3))
    front = replace(plan.images[0], azimuth_deg=0.0, elevation_deg=0.0)
    back = replace(front, azimuth_deg=180.0)
    masks = [
        request_of(one, np.zeros(10), pose, body, (64, 32)).render(body).mask
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
