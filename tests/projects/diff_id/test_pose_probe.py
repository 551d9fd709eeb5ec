"""The network that measures pose and viewpoint: projections, errors by hand, and that it learns."""

import numpy as np
import pytest
import torch

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.bodies.condition_maps import MapRequest
from fastreid_ext.bodies.crop_camera import camera_around
from fastreid_ext.bodies.poses import standing
from projects.DiffID.miniature.pose_probe import (
    POINTS,
    SIZE,
    PoseProbe,
    Seen,
    errors,
    load_or_train,
    points_of,
    train_probe,
)


class Told(torch.nn.Module):
    """A probe that answers what it was told, in turn."""

    def __init__(self, azimuth_deg, points):
        super().__init__()
        angles = torch.from_numpy(np.radians(azimuth_deg)).float()
        self.directions = torch.stack([angles.cos(), angles.sin()], dim=1)
        self.points = torch.from_numpy(points).float()

    def forward(self, images):
        return self.directions[: len(images)], self.points[: len(images)]


IMAGES = torch.zeros(2, 3, *SIZE, dtype=torch.uint8)


def test_errors_go_around_the_circle_and_are_in_heights():
    asked = Seen(np.array([350.0, 10.0]), np.full((2, POINTS, 2), 0.5))
    there = np.full((2, POINTS, 2), 0.5)
    there[..., 0] += 0.2  # a fifth of the width is a tenth of the height
    found = errors(Told(np.array([10.0, 350.0]), there), IMAGES, asked)
    assert found.azimuth_deg == pytest.approx(20, abs=1e-3)
    assert found.points == pytest.approx(0.1, abs=1e-6)


def test_unknown_points_have_no_error():
    told = Told(np.array([0.0, 0.0]), np.zeros((2, POINTS, 2)))
    found = errors(told, IMAGES, Seen(np.array([90.0, 90.0])))
    assert found.azimuth_deg == pytest.approx(90)
    assert np.isnan(found.points)


def test_shuffled_wishes_are_those_of_other_images():
    seen = Seen(np.arange(50.0), np.arange(50.0).repeat(POINTS * 2).reshape(50, POINTS, 2))
    shuffled = seen.shuffled()
    assert sorted(shuffled.azimuth_deg) == seen.azimuth_deg.tolist()
    assert (shuffled.azimuth_deg != seen.azimuth_deg).mean() > 0.8
    assert np.array_equal(shuffled.points[:, 0, 0], shuffled.azimuth_deg)


def test_points_lie_in_the_image_of_the_body():
    body = load_body()
    pose = standing(np.random.default_rng(0))
    camera = camera_around(body.pose(np.zeros(10), pose), 0, 0, *SIZE)
    request = MapRequest(np.zeros(10), pose, np.zeros(3), camera)
    points = points_of(request, body)
    assert points.shape == (POINTS, 2)
    assert 0 < points[0, 1] < 0.25  # the nose of a person of nine tenths of the height
    ankles = points[[10, 13], 1]
    assert (ankles > 0.8).all()
    assert points[4, 0] < 0.5 < points[7, 0]  # the right wrist is on the left of a frontal image


@pytest.mark.slow
def test_the_probe_learns_and_is_read_again(tmp_path):
    rng = np.random.default_rng(0)
    azimuths = rng.choice([0.0, 90.0, 180.0, 270.0], size=200)
    shades = torch.from_numpy(azimuths / 270 * 200).to(torch.uint8)
    images = shades[:, None, None, None].expand(200, 3, *SIZE).contiguous()
    points = np.repeat(azimuths / 270, POINTS * 2).reshape(200, POINTS, 2)
    seen = Seen(azimuths, points)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unlearned = errors(PoseProbe().eval(), images, seen)
    probe = load_or_train(tmp_path / "probe.pth", images, seen, steps=60)
    learned = errors(probe, images, seen)
    assert learned.azimuth_deg < unlearned.azimuth_deg / 2
    assert learned.points < unlearned.points / 2
    again = load_or_train(tmp_path / "probe.pth", images[:1], seen, steps=10**9)
    assert errors(again, images, seen) == learned


def test_equal_seeds_give_equal_probes():
    images = torch.randint(0, 255, (8, 3, *SIZE), dtype=torch.uint8)
    seen = Seen(np.zeros(8), np.zeros((8, POINTS, 2)))
    before = torch.get_rng_state()
    first = train_probe(images, seen, steps=2, seed=3)
    second = train_probe(images, seen, steps=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
