"""Fits of a rendered set lie on its images."""

import dataclasses

import cv2
import numpy as np

from fastreid_ext.bodies.body_fits import FITS_FILE, BodyFits
from fastreid_ext.bodies.fits_check import fits_problems
from fastreid_ext.rendered.dressing import free_body
from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH
from fastreid_ext.rendered.writer import render_domain


def in_crop(row, height, width):
    """Project the annotated joints (24, 2) to pixels of the image."""
    camera = row["camera_parameters"]
    seen = (np.array(row["joints"]) - camera["position"]) @ np.array(camera["rotation"]).T
    frame = seen[:, :2] / seen[:, 2:] * camera["focal_px"] + [FRAME_WIDTH / 2, FRAME_HEIGHT / 2]
    left, top, across, down = camera["box"]
    return (frame - [left, top]) * [width / across, height / down]


def test_fits_have_the_joints_of_the_annotations(rendered, rows):
    fits = BodyFits.read(rendered)
    assert len(fits) == len(rows)
    body, _ = free_body()
    for row in rows:
        i = fits.index(row["file"])
        joints = body.pose(fits.betas[i], fits.poses[i], fits.translations[i]).joints
        height, width = fits.image_sizes[i].tolist()
        found = fits.camera(i).project(joints)[:, :2]
        np.testing.assert_allclose(found, in_crop(row, height, width), atol=0.1)


def test_fits_pass_their_own_check(rendered):
    assert fits_problems(BodyFits.read(rendered), rendered) == []


def test_viewpoints_and_pose_names_are_those_of_the_annotations(rendered, rows):
    fits = BodyFits.read(rendered)
    row = rows[3]
    i = fits.index(row["file"])
    assert fits.viewpoint(i)[0] == row["viewpoint"]["azimuth_deg"] % 360
    assert fits.pose_names[i] == row["pose_name"]
    # The pelvis of a walking person turns a little against the heading.
    fits = dataclasses.replace(fits, azimuth_deg=None, elevation_deg=None)
    apart = (fits.viewpoint(i)[0] - row["viewpoint"]["azimuth_deg"] + 180) % 360 - 180
    assert abs(apart) < 30


def test_a_complete_set_gets_its_fits(rendered, small, tmp_path):
    before = (rendered / FITS_FILE).read_bytes()
    (rendered / FITS_FILE).unlink()
    render_domain(Settings("RenderedVI", **small), rendered.parent)
    assert (rendered / FITS_FILE).read_bytes() == before


def test_silhouettes_lie_on_the_pictures(rendered, rows):
    """Pixels inside the body differ from the picture's border colour more than those outside."""
    fits = BodyFits.read(rendered)
    body, _ = free_body()
    inside = []
    outside = []
    for row in rows[:12]:
        if row["occlusion"] > 0.05:
            continue
        image = cv2.imread(str(rendered / row["file"])).astype(float)
        mask = fits.request(fits.index(row["file"])).render(body).mask
        border = np.median(np.concatenate([image[:, 0], image[:, -1]]), axis=0)
        apart = np.abs(image - border).sum(axis=2)
        inside.append(apart[mask].mean())
        outside.append(apart[~mask].mean())
    assert np.mean(inside) > 1.5 * np.mean(outside)
