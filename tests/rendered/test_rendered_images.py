"""Annotations of rendered images agree with each other and with the camera networks."""

import collections
import math

import numpy as np
import pytest

from fastreid_ext.rendered.domains import camera_specs
from fastreid_ext.rendered.plan import Settings, plan_identity
from fastreid_ext.rendered.rendered_images import PASSERS_BY, passers_by, render_images
from fastreid_ext.rendered.seasons import SEASONS


def projected(row):
    """Joints in pixels of the frame, from the annotation alone."""
    camera = row["camera_parameters"]
    points = (np.array(row["joints"]) - camera["position"]) @ np.array(camera["rotation"]).T
    height, width = camera["frame"]
    return points[:, :2] / points[:, 2:] * camera["focal_px"] + [width / 2, height / 2]


def test_bodies_are_in_their_boxes(rows):
    """Boxes that cut leave out at most 20 % of a body; most leave out nothing."""
    shares = []
    for row in rows:
        left, top, width, height = row["camera_parameters"]["box"]
        x, y = projected(row).T
        shares.append(((left < x) & (x < left + width) & (top < y) & (y < top + height)).mean())
    assert min(shares) > 0.5
    assert np.mean(np.array(shares) == 1) > 0.6


def test_viewpoint_follows_from_the_place(rows):
    for row in rows:
        x, z, yaw = row["place"].values()
        forward = -(x * math.sin(yaw) + z * math.cos(yaw))
        left = -(x * math.cos(yaw) - z * math.sin(yaw))
        azimuth = math.degrees(math.atan2(left, forward))
        turn = (row["viewpoint"]["azimuth_deg"] - azimuth + 180) % 360 - 180
        assert turn == pytest.approx(0, abs=0.02)
        height = row["camera_parameters"]["position"][1]
        elevation = math.degrees(math.atan2(height - 0.9, math.hypot(x, z)))
        assert row["viewpoint"]["elevation_deg"] == pytest.approx(elevation, abs=0.01)
        assert row["joints"][0][0] == pytest.approx(x, abs=0.01)
        assert row["joints"][0][2] == pytest.approx(z, abs=0.01)


def test_captions_end_with_stance_and_view(rows):
    actions = {"walking": "walking", "standing": "standing", "phone": "using a phone"}
    for row in rows:
        *_, action, seen = row["caption"].split(", ")
        assert action == actions.get(row["pose_name"], "carrying something")
        azimuth = abs(row["viewpoint"]["azimuth_deg"])
        names = ["front view", "side view", "back view"]
        assert seen == names[np.searchsorted([45.0, 135.0], azimuth)]


def test_cameras_are_those_of_the_domain(rows):
    for row in rows:
        spec = camera_specs("RenderedVI")[row["camera"] - 1]
        assert row["modality"] == ("infrared" if spec.infrared else "visible")
        assert row["camera_parameters"]["position"] == [0.0, spec.height, 0.0]
        assert row["camera_parameters"]["focal_px"] == pytest.approx(spec.focal * 540)
        assert spec.near <= row["place"]["z"] <= spec.far
        assert row["light"]["sun"] > 0


def test_an_identity_looks_alike_in_all_its_rows(rows):
    by_pid = collections.defaultdict(list)
    for row in rows:
        by_pid[row["pid"]].append(row)
    for same in by_pid.values():
        assert all(row["attributes"] == same[0]["attributes"] for row in same)
        assert all(row["betas"] == same[0]["betas"] for row in same)
        own = same[0]["attributes"]["outfit"]["bag_kind"]
        carried = {row["carried"] for row in same}
        assert carried <= {own, "none"}
        if not same[0]["attributes"]["puts_bag_down"]:
            assert carried == {own}
        assert own in SEASONS["RenderedVI"].bags


def test_bodies_can_be_seen(rows):
    """A shot that hides more than 40 % is sampled again, up to three times."""
    occlusion = np.array([row["occlusion"] for row in rows])
    assert occlusion.min() >= 0
    assert (occlusion <= 0.4).mean() > 0.95


def test_passers_by_are_made_once_and_by_seed():
    crowd = passers_by(7, "RenderedVI")
    assert len(crowd) == PASSERS_BY
    assert passers_by(7, "RenderedVI") is crowd
    assert len({body.vertices[:7000].tobytes() for body in crowd}) == PASSERS_BY


def test_render_images_yields_the_plan_in_order():
    settings = Settings("RenderedVI", 1, 0, 4, 7, height=32, width=16)
    planned = plan_identity(settings, 1)
    rendered = list(render_images(settings, planned))
    assert [image for image, _, _ in rendered] == list(planned.images)
    for image, jpeg, row in rendered:
        assert jpeg.startswith(b"\xff\xd8")
        assert row["file"] == image.file
        assert row["camera"] == image.camera + 1
        assert (np.shape(row["pose"]), np.shape(row["joints"])) == ((24, 3), (24, 3))
