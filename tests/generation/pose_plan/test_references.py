"""References of a plan: images that show no person are left out, and said."""

import shutil

import cv2
import numpy as np
import pytest

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.generation.pose_guided.training_images import problems_of_sets, training_images
from fastreid_ext.generation.pose_plan.plan import make_plan
from tests.generation.pose_guided.conftest import rendered_root  # noqa: F401
from tests.tiny_cfg import tiny_cfg


@pytest.fixture
def root(rendered_root, tmp_path):  # noqa: F811
    shutil.copytree(rendered_root, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def plan_cfg(root, tmp_path):
    """Give the configuration of a plan of three images of each of six identities."""

    def make(output="plan"):
        keys = {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("RenderedCampus",),
            "DATASETS.ROOT": str(root),
            "GENERATION.POSE_PLAN.PER_IDENTITY": 3,
            "GENERATION.POSE_PLAN.REFERENCES": 2,
            "GENERATION.POSE_PLAN.POSE_CLUSTERS": 3,
            "GENERATION.POSE_PLAN.BANK": 4,
            "SEED": 5,
            "OUTPUT_DIR": str(tmp_path / output),
        }
        return tiny_cfg(keys)

    return make


def references(plan, pid):
    return {image.reference for image in plan.images if image.pid == pid}


def move_bodies(root, names):
    """Move the bodies of some images two widths to the right of them."""
    path = root / "RenderedCampus" / "body_fits.npz"
    fits = BodyFits.read(path)
    for name in names:
        fits.centre_px[fits.index(name), 0] += 64
    fits.write(path)


def paint(root, name, noise=0.0):
    """Replace an image by a grey wall, with the noise of a camera in grey levels."""
    file = str(root / "RenderedCampus" / name)
    shape = cv2.imread(file).shape
    wall = 120 + noise * np.random.default_rng(0).standard_normal(shape)
    cv2.imwrite(file, wall.round().astype(np.uint8))


def test_rendered_references_all_show_the_person(plan_cfg, caplog):
    make_plan(plan_cfg())
    assert "no references" not in caplog.text
    assert problems_of_sets(plan_cfg()) == []


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_reference_of_one_colour_is_replaced_and_said(plan_cfg, root, noise, caplog):
    before = references(make_plan(plan_cfg("before")), 2)
    wall = sorted(before)[0]
    paint(root, wall, noise)
    plan = make_plan(plan_cfg())
    assert len(references(plan, 2)) == 2
    assert wall not in references(plan, 2)
    assert f"1 images show no person and are no references ({wall}: the image is" in caplog.text
    assert references(plan, 3) == references(make_plan(plan_cfg("before")), 3)
    (problem,) = problems_of_sets(plan_cfg())
    assert f"nearly of one colour, so it shows no person ({wall})" in problem


def test_a_reference_whose_body_lies_outside_is_replaced_and_said(plan_cfg, root, caplog):
    before = references(make_plan(plan_cfg("before")), 4)
    outside = sorted(before)[1]
    move_bodies(root, [outside])
    plan = make_plan(plan_cfg())
    assert len(references(plan, 4)) == 2
    assert outside not in references(plan, 4)
    assert f"({outside}: the body of its fit lies outside the image)" in caplog.text


def test_an_identity_without_any_reference_is_not_planned_and_said(plan_cfg, root, caplog):
    own = [image for image in training_images(plan_cfg()) if image.pid == 5]
    move_bodies(root, [str(image.fits.file_names[image.row]) for image in own])
    plan = make_plan(plan_cfg())
    assert sorted({image.pid for image in plan.images}) == [1, 2, 3, 4, 6]
    assert plan.per_identity == 3
    assert "1 identities have no image that shows the person, and none of them is" in caplog.text
    assert "planned: RenderedCampus_0005" in caplog.text


def test_a_set_without_any_reference_is_refused(plan_cfg, root, tmp_path):
    move_bodies(root, BodyFits.read(root / "RenderedCampus").file_names.tolist())
    with pytest.raises(
        ValueError, match=r"got none for 6 identities: .*outside the image.*, \.\.\.;"
    ):
        make_plan(plan_cfg())
    assert not (tmp_path / "plan").exists()
