"""Cameras that change between sessions, and what a hard set has more of."""

import numpy as np
import pytest

from fastreid_ext.rendered.difficulty import (
    DIFFICULTIES,
    camera_in_session,
    difficulty,
    session_of,
)
from fastreid_ext.rendered.domains import DOMAINS, camera_specs
from fastreid_ext.rendered.plan import Settings, plan_domain

DOMAIN = "RenderedCampus"


def sessions_of(camera, seed=0, domain=DOMAIN, count=8):
    spec = camera_specs(domain)[camera]
    return [camera_in_session(spec, seed, domain, camera, k, count) for k in range(count)]


def test_an_easy_camera_never_changes():
    for camera, spec in enumerate(camera_specs(DOMAIN)):
        assert camera_in_session(spec, 0, DOMAIN, camera, 0, 1) == spec
    assert difficulty("easy").sessions == 1


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_session_of_every_camera_is_another_and_stays_possible(domain):
    for camera, usual in enumerate(camera_specs(domain)):
        found = sessions_of(camera, domain=domain)
        assert len({spec.exposure for spec in found}) == 8
        for spec in found:
            place = ("height", "near", "far", "heading", "spread", "focal", "sky", "infrared")
            assert all(getattr(spec, name) == getattr(usual, name) for name in place)
            assert spec.sun[:2] == usual.sun[:2]
            assert min(*spec.gains, spec.exposure, spec.gamma, spec.contrast, spec.native) > 0
            assert 1 <= spec.quality <= 100


def test_sessions_are_those_of_a_seed():
    assert sessions_of(0) == sessions_of(0)
    assert sessions_of(0)[3] != sessions_of(0, seed=1)[3]


def test_a_camera_differs_from_itself_as_cameras_differ():
    """Warmth, log(red / blue): its deviation over sessions reaches that over the six cameras."""
    warmth = [
        np.log([spec.gains[0] / spec.gains[2] for spec in sessions_of(camera, count=64)])
        for camera in range(6)
    ]
    over_cameras = np.std([values.mean() for values in warmth])
    assert np.mean([values.std() for values in warmth]) > over_cameras


def test_a_person_passes_in_one_session_and_all_are_used():
    planned = plan_domain(Settings(DOMAIN, 60, 20, 8, 3))
    for identity in planned:
        names = {image.file.split("/")[1].split("_")[1][2:] for image in identity.images}
        assert names == {f"s{identity.session + 1}"}
        assert identity.session == session_of(3, DOMAIN, identity.person_id, 8)
    assert {identity.session for identity in planned} == set(range(8))
    easy = plan_domain(Settings(DOMAIN, 60, 20, 8, 3, difficulty="easy"))
    assert {identity.session for identity in easy} == {0}
    # Nothing else of the plan differs.
    assert [[image.camera for image in one.images] for one in planned] == [
        [image.camera for image in one.images] for one in easy
    ]


def test_hard_has_more_of_everything():
    easy = DIFFICULTIES["easy"]
    hard = DIFFICULTIES["hard"]
    for name in ("sessions", "exposure", "gains", "motion_share", "cut_share"):
        assert getattr(hard, name) > getattr(easy, name)
    assert hard.look_alike_period < easy.look_alike_period
    with pytest.raises(ValueError, match="expected difficulty easy or hard, got 'medium'"):
        Settings(DOMAIN, 4, 4, 8, 0, difficulty="medium")
