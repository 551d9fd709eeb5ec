"""Plans of a rendered set: balanced, repeatable, of training identities alone, plotted."""

import json

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.generation.pose_plan.figure import plot_distribution
from fastreid_ext.generation.pose_plan.plan import PLAN, make_plan
from tests.generation.pose_guided.conftest import rendered_root  # noqa: F401
from tests.tiny_cfg import tiny_cfg


@pytest.fixture
def plan_cfg(rendered_root, tmp_path):  # noqa: F811
    """Give a configuration of a plan; keys of GENERATION.POSE_PLAN by name."""

    def make(output="plan", seed=5, **changes):
        plan = {"POSE_CLUSTERS": 3, "REFERENCES": 2} | changes
        if "PER_IDENTITY" not in changes:
            plan.setdefault("IMAGES", 40)
        if changes.get("POSES") != "set" and changes.get("SAMPLER") != "canonical":
            plan.setdefault("BANK", 12)
        keys = {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("RenderedCampus",),
            "DATASETS.ROOT": str(rendered_root),
            "SEED": seed,
            "OUTPUT_DIR": str(tmp_path / output),
        }
        return tiny_cfg(keys | {f"GENERATION.POSE_PLAN.{k}": v for k, v in plan.items()})

    return make


def test_budgets_are_balanced_over_identities(plan_cfg):
    plan = make_plan(plan_cfg())
    counts = np.bincount([image.pid for image in plan.images])[1:]
    assert counts.tolist() == [6] * 6  # 40 / 6, without the remainder
    assert plan.per_identity == 6
    each = make_plan(plan_cfg("each", PER_IDENTITY=3))
    assert np.bincount([image.pid for image in each.images])[1:].tolist() == [3] * 6


def test_fewer_images_than_identities_are_refused(plan_cfg):
    with pytest.raises(ValueError, match=r"an image for each of 6 identities.*IMAGES 5;"):
        make_plan(plan_cfg(IMAGES=5))


def test_a_plan_repeats_and_grows_at_its_end(plan_cfg):
    plan = make_plan(plan_cfg("one", PER_IDENTITY=3))
    assert make_plan(plan_cfg("two", PER_IDENTITY=3)).images == plan.images
    larger = make_plan(plan_cfg("three", PER_IDENTITY=5)).images
    assert [image for image in larger if image.number < 3] == plan.images
    assert make_plan(plan_cfg("four", seed=6, PER_IDENTITY=3)).images != plan.images


def test_a_plan_is_read_as_written(plan_cfg):
    first = make_plan(plan_cfg())
    second = make_plan(plan_cfg())
    assert second.images == first.images
    np.testing.assert_array_equal(second.added.poses, first.added.poses)
    with pytest.raises(ValueError, match=r"got another \(GENERATION.POSE_PLAN.BANK was 12, is 13"):
        make_plan(plan_cfg(BANK=13))


def test_references_are_spread_over_cameras_and_used_in_turn(plan_cfg):
    plan = make_plan(plan_cfg(PER_IDENTITY=4))
    own = [image.reference for image in plan.images if image.pid == 1]
    assert own[0] == own[2] != own[1] == own[3]
    cameras = {reference.split("_")[2 if "train/" not in reference else -3][1] for reference in own}
    assert len(cameras) == 2


def test_a_plan_of_test_identities_is_refused(plan_cfg, tmp_path):
    make_plan(plan_cfg())
    file = tmp_path / "plan" / PLAN
    row = json.loads(file.read_text().splitlines()[0])
    with file.open("a") as opened:
        opened.write(json.dumps(row | {"pid": 7}) + "\n")  # a test identity
    with pytest.raises(ValueError, match=r"1 others \(RenderedCampus_0007\); test identities must"):
        make_plan(plan_cfg())


def test_what_the_set_lacks_comes_nearer_to_uniform(plan_cfg, tmp_path):
    cfg = plan_cfg(SAMPLER="inverse_density", IMAGES=400, SOURCES=["gait", "unusual"])
    plan = make_plan(cfg)
    found = plot_distribution(cfg, plan, tmp_path / "figure.png")
    assert found["after"][0] < 0.3 * found["before"][0]
    assert found["after"][1] < found["before"][1]
    assert Image.open(tmp_path / "figure.png").size[0] > 1000


def test_poses_and_views_of_the_set_keep_its_distribution(plan_cfg):
    """Rows II to IV of the paper's ablation."""
    plan = make_plan(plan_cfg(POSES="set", VIEWS="set"))
    known = set(zip(plan.of_set.azimuth_deg, plan.of_set.elevation_deg, strict=True))
    added = plan.added
    nearest = [
        min(abs(a - x) + abs(e - y) for x, y in known)
        for a, e in zip(added.azimuth_deg, added.elevation_deg, strict=True)
    ]
    assert max(nearest) < 0.01
    assert all(name.startswith("set_") for name in plan.poses)
    assert np.allclose(added.poses[:, 0], 0)


def test_contradicting_keys_are_refused(plan_cfg):
    with pytest.raises(ValueError, match="VIEWS all with SAMPLER inverse_density"):
        make_plan(plan_cfg(SAMPLER="inverse_density", VIEWS="set"))


def test_canonical_plans_name_the_views(plan_cfg):
    plan = make_plan(plan_cfg(SAMPLER="canonical", PER_IDENTITY=4, PLACEMENT=False))
    own = [(image.pose, image.azimuth_deg) for image in plan.images if image.pid == 2]
    assert own == [("front", 0), ("left", 90), ("back", 180), ("right", 270)]
    assert plan.images[0].placement == (0.9, 0.0, 0.0, 6.0)
