"""Images of identities in given poses: which side they show, and that they repeat."""

import cv2
import numpy as np
import pytest

from fastreid_ext.bodies.pose_sources import canonical_poses
from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.plan import Settings, plan_identity
from fastreid_ext.rendered.posed_images import render_poses
from fastreid_ext.rendered.posing import stand
from fastreid_ext.rendered.rendered_images import passers_by, placed_view
from fastreid_ext.rendered.shots import sample_shot, turned

SETTINGS = Settings("RenderedCampus", 4, 4, 6, 7)
LEFT_SHOULDER, RIGHT_SHOULDER = 16, 17  # of SMPL's 24 joints


@pytest.mark.parametrize("seen", canonical_poses(), ids=lambda seen: seen[0].name)
def test_a_turned_shot_shows_the_side_of_its_name(seen):
    pose, azimuth, _ = seen
    rng = np.random.default_rng(1)
    place = placed_view(SETTINGS, difficulty("easy"), 0, 0)
    shot = sample_shot(place, "none", 0, rng, level=difficulty("easy"))
    shot = turned(shot, pose.name, pose.pose, azimuth)
    difference = (shot.azimuth_deg() - azimuth + 180) % 360 - 180
    assert difference == pytest.approx(0, abs=1e-6)
    dressed = passers_by(7, "RenderedCampus")[0]
    placed = stand(dressed, shot.pose, shot.yaw, shot.x, shot.z)
    joints = next(part for part in placed if np.shape(part) == (24, 3))
    left, right = np.linalg.norm(joints[[LEFT_SHOULDER, RIGHT_SHOULDER]][:, [0, 2]], axis=1)
    if pose.name in ("left", "right"):  # the camera stands at x = z = 0
        assert (left < right) == (pose.name == "left")
    else:
        assert abs(left - right) < 0.15


def test_one_image_of_each_pose_which_repeats():
    planned = plan_identity(SETTINGS, 2)
    first = list(render_poses(SETTINGS, planned))
    assert [name for name, _, _ in first] == ["front", "left", "back", "right"]
    assert {camera for _, camera, _ in first} <= {image.camera for image in planned.images}
    for _, _, jpeg in first:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (128, 64, 3)
        assert image.std() > 10
    assert len({jpeg for _, _, jpeg in first}) == 4
    assert list(render_poses(SETTINGS, planned)) == first
