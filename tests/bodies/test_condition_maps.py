"""Fast condition maps: equal to the reference maps, aligned, in order from workers."""

import numpy as np
import pytest

from fastreid_ext.bodies import conditions
from fastreid_ext.bodies.body_model import FREE_BODY
from fastreid_ext.bodies.condition_maps import MapRequest, condition_maps, render_requests
from fastreid_ext.bodies.crop_camera import Placement, camera_around
from fastreid_ext.bodies.gait import walking
from fastreid_ext.bodies.pose_bank import out_of_distribution
from fastreid_ext.bodies.render import rasterize

HEIGHT = 96
WIDTH = 48


def request(rng, body, placement=None):
    pose = out_of_distribution(rng)
    posed = body.pose(np.zeros(10), pose)
    azimuth = rng.uniform(0, 360)
    camera = camera_around(posed, azimuth, rng.uniform(0, 30), HEIGHT, WIDTH, placement)
    return MapRequest(np.zeros(10), pose, np.zeros(3), camera)


def test_maps_are_those_of_the_reference_renderer(body, rng):
    for _ in range(5):
        one = request(rng, body)
        found = one.render(body)
        posed = body.pose(one.betas, one.pose, one.translation)
        seen = rasterize(one.camera.project(posed.vertices), body.faces, HEIGHT, WIDTH)
        expected = conditions.as_uint8(conditions.depth_map(seen))
        normals = conditions.normal_map(seen, posed.vertices, body.faces, one.camera)
        near = (np.abs(found.depth.astype(int) - expected) <= 1).mean()
        assert near > 0.995  # edges may fall to a face behind
        of_normals = np.abs(found.normal.astype(int) - conditions.as_uint8(normals)).max(axis=2)
        assert (of_normals <= 1).mean() > 0.99
        assert (found.skeleton == conditions.skeleton_pixels(posed, one.camera)).all()


def test_joints_lie_inside_the_silhouette(body, rng):
    """Hips, knees and the neck, wherever nothing of the body is cut."""
    inside = 0
    total = 0
    for _ in range(20):
        one = request(rng, body)
        posed = body.pose(one.betas, one.pose, one.translation)
        points = one.camera.project(posed.joints[[0, 1, 2, 4, 5, 12]]).astype(int)
        mask = one.render(body).mask
        inside += mask[points[:, 1], points[:, 0]].sum()
        total += len(points)
    assert inside / total > 0.98


def test_stacked_maps_have_the_channels_of_their_kinds(body, rng):
    maps = request(rng, body).render(body)
    stacked = maps.stacked()
    assert stacked.shape == (7, HEIGHT, WIDTH)
    assert stacked.dtype == np.uint8
    assert (stacked[0] == maps.depth).all()
    assert (stacked[1:4].transpose(1, 2, 0) == maps.normal).all()
    assert (maps.stacked(["skeleton"]).transpose(1, 2, 0) == maps.skeleton).all()
    with pytest.raises(ValueError, match=r"expected conditions of .* got \['pose'\]"):
        maps.stacked(["pose"])


def test_a_cut_body_fills_the_lower_edge(body, rng):
    pose = walking(0.0, 1.2, rng)
    posed = body.pose(np.zeros(10), pose)
    cut = camera_around(posed, 0, 10, HEIGHT, WIDTH, Placement(1.2, 0.0, 0.1))
    whole = camera_around(posed, 0, 10, HEIGHT, WIDTH)
    assert condition_maps(posed, body, cut).mask[-1].any()
    mask = condition_maps(posed, body, whole).mask
    assert not mask[-1].any()
    rows = np.flatnonzero(mask.any(axis=1))
    assert (rows[-1] - rows[0] + 1) / HEIGHT == pytest.approx(0.9, abs=0.03)


@pytest.mark.slow
def test_workers_give_the_same_maps_in_order(body, rng):
    requests = [request(rng, body) for _ in range(21)]
    alone = list(render_requests(requests))
    together = list(render_requests(iter(requests), workers=2))
    assert len(together) == 21
    for one, other in zip(alone, together, strict=True):
        assert (one.stacked() == other.stacked()).all()


def test_requests_are_taken_a_little_ahead_only(body, rng):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield request(rng, body)

    maps = render_requests(endless())
    next(maps)
    assert len(taken) == 1


def test_negative_workers_are_refused():
    with pytest.raises(ValueError, match="expected workers >= 0, got -1"):
        next(render_requests([], workers=-1))


def test_a_body_file_of_the_user_drives_the_same_path(body, rng, tmp_path):
    """The shipped body, wider by a half and written as a SMPL file, in a worker's way."""
    with np.load(FREE_BODY) as file:
        arrays = dict(file)
    arrays["v_template"] = arrays["v_template"] * [1.5, 1, 1]
    for optional in ("part", "gender_means", "gender_spreads"):
        arrays.pop(optional, None)
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **arrays)
    pose = walking(0.0, 1.2, rng)
    camera = camera_around(body.pose(np.zeros(10), pose), 0, 10, HEIGHT, WIDTH, Placement(0.6))
    one = MapRequest(np.zeros(10), pose, np.zeros(3), camera)
    (usual,) = render_requests([one])
    (wide,) = render_requests([one], tmp_path / "SMPL_NEUTRAL.npz")
    assert wide.mask.sum() > 1.2 * usual.mask.sum()
    assert (wide.skeleton != usual.skeleton).any()
