"""The tracer against brute force: planes, roots of quadratics, and shadows in small steps."""

import numpy as np
import pytest

from fastreid_ext.rendered.scene_tracer import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    TEXTURES,
    _mix,
    lamp_falloff,
    nearest,
    trace,
)

HEIGHT = 24
WIDTH = 32
FOCAL = 20.0
EYE = np.array([0.0, 2.0, 0.0])
LEVEL = np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])  # rows right, down, forward
PLAIN = np.array([[0.2, 0.3, 0.4, 0.2, 0.3, 0.4, 0.6, 0.6, 0, 1.0]])
SKY = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.8, 0.7]])
BOUNCE = np.array([0.3, 0.3, 0.3, 0.3])
SUN = np.array([0.6, 0.8, 0.0])


def traced(primitives=(), sun=SUN, headlight=False):
    """Trace primitives (kind, centre and half size) on plain ground, with a level camera."""
    kinds = np.array([kind for kind, _ in primitives], np.int64)
    boxes = np.array([box for _, box in primitives], np.float64).reshape(-1, 6)
    faces = np.zeros(len(kinds) + 1, np.int64)
    ambient = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    sunlit = np.zeros_like(ambient)
    depth = np.empty((HEIGHT, WIDTH), np.float32)
    trace(
        EYE, LEVEL, FOCAL, kinds, boxes, PLAIN, faces, SKY, sun, BOUNCE, headlight,
        ambient, sunlit, depth,
    )  # fmt: skip
    return ambient, sunlit, depth


def rays():
    """Directions (H, W, 3) of the pixels, of length 1 along the optical axis."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    across = (columns + 0.5 - WIDTH / 2) / FOCAL
    down = (rows + 0.5 - HEIGHT / 2) / FOCAL
    return np.stack([across, down, np.ones_like(across)], axis=-1) @ LEVEL


def is_inside(kind, box, points):
    share = (points - box[:3]) / box[3:]
    if kind == BOX:
        return (np.abs(share) < 1).all(axis=-1)
    if kind == CYLINDER:
        return (share[..., [0, 2]] ** 2).sum(axis=-1) < 1
    return (share**2).sum(axis=-1) < 1


def hit_by_hand(kind, box, origin, ray):
    """Distance to a primitive seen from outside: its six planes, or the roots of its quadratic."""
    centre = box[:3]
    half = box[3:]
    if kind == BOX:
        found = []
        for axis in range(3):
            for face in (-1, 1):
                t = (centre[axis] + face * half[axis] - origin[axis]) / ray[axis]
                others = np.delete(np.abs(origin + t * ray - centre) - half, axis)
                if t > 0 and (others <= 0).all():
                    found.append(t)
        return min(found, default=np.inf)
    use = [0, 2] if kind == CYLINDER else [0, 1, 2]
    start = ((origin - centre) / half)[use]
    step = (ray / half)[use]
    roots = np.roots([step @ step, 2 * start @ step, start @ start - 1])
    if np.iscomplex(roots).any() or roots.real.min() <= 0:
        return np.inf
    t = roots.real.min()
    is_beyond = kind == CYLINDER and abs(origin[1] + t * ray[1] - centre[1]) > half[1]
    return np.inf if is_beyond else t


def test_lamp_falloff_is_the_inverse_square_up_to_a_limit():
    assert [lamp_falloff(depth) for depth in (6.0, 12.0, 1.0)] == [1.0, 0.25, 2.2]


def test_nearest_agrees_with_planes_and_quadratics():
    rng = np.random.default_rng(0)
    kinds = np.array([BOX, CYLINDER, ELLIPSOID] * 4)
    centres = rng.uniform((-3, 0, 4), (3, 3, 10), (12, 3))
    boxes = np.concatenate([centres, rng.uniform(0.2, 0.9, (12, 3))], axis=1)
    hits = 0
    for _ in range(300):
        ray = np.append(rng.uniform(-0.5, 0.5, 2), 1.0)
        expected = [hit_by_hand(*one, EYE, ray) for one in zip(kinds, boxes, strict=True)]
        t, which, axis = nearest(EYE, ray, kinds, boxes)
        if np.isinf(min(expected)):
            assert which == -1
            continue
        hits += 1
        assert which == np.argmin(expected)
        assert t == pytest.approx(min(expected), rel=1e-6)
        if kinds[which] == BOX:
            side = np.abs(EYE + t * ray - boxes[which, :3]) / boxes[which, 3:]
            assert axis == side.argmax()
    assert 60 < hits < 240


def test_nearest_ignores_what_is_behind():
    kinds = np.array([BOX, CYLINDER, ELLIPSOID])
    boxes = np.array([[0, 2, -4, 1, 1, 1], [0, 2, -6, 1, 1, 1], [0, 2, -9, 1, 1, 1.0]])
    assert nearest(EYE, np.array([0.0, 0.0, 1.0]), kinds, boxes)[1] == -1
    assert nearest(EYE, np.array([0.0, 0.0, -1.0]), kinds, boxes)[1] == 0


def test_trace_ground_and_sky_by_hand():
    _, sunlit, depth = traced()
    down = -rays()[..., 1]
    assert np.isinf(depth[down <= 0]).all()
    assert depth[down > 0] == pytest.approx(2.0 / down[down > 0], rel=1e-5)
    assert sunlit[down <= 0].sum() == 0


def test_trace_sky_brightens_towards_the_zenith():
    ambient, _, depth = traced()
    sky = np.isinf(depth)
    share = np.clip(2 * rays()[sky][:, 1:2], 0, 1)
    assert ambient[sky] == pytest.approx(SKY[0] * (1 - share) + SKY[1] * share, rel=1e-5)


def test_trace_open_ground_is_lambertian():
    """Sun and sky fall on the same reflectance; the sun with the cosine of its height."""
    ambient, sunlit, depth = traced()
    ground = np.isfinite(depth)
    assert sunlit[ground] / ambient[ground] == pytest.approx(
        np.tile(0.8 / SKY[1], (ground.sum(), 1)), rel=1e-4
    )
    albedo = sunlit[ground] / 0.8
    tone = albedo / [0.2, 0.3, 0.4, 0.6]
    assert 0.86 - 1e-4 <= tone.min() <= tone.max() <= 1.14 + 1e-4
    assert np.ptp(tone, axis=1).max() < 1e-5  # dirt has no colour


@pytest.mark.parametrize("kind", [BOX, ELLIPSOID])
def test_trace_depth_and_shadow_agree_with_small_steps(kind):
    box = np.array([0.0, 1.0, 6.0, 0.8, 1.0, 0.7])
    _, sunlit, depth = traced([(kind, box)])
    directions = rays()
    steps = np.arange(0.0, 12.0, 0.01)
    shaded = 0
    for row in range(HEIGHT):
        for column in range(WIDTH):
            ray = directions[row, column]
            seen = is_inside(kind, box, EYE + steps[:, None] * ray)
            if seen.sum() > 5:
                assert depth[row, column] == pytest.approx(steps[seen.argmax()], abs=0.02)
            elif not seen.any() and ray[1] < 0 and 2 / -ray[1] < 12:
                spot = EYE + 2 / -ray[1] * ray
                blocked = is_inside(kind, box, spot + steps[:, None] * SUN).sum()
                if blocked == 0 or blocked > 5:  # not a ray along its edge
                    assert (sunlit[row, column].sum() == 0) == (blocked > 5)
                    shaded += blocked > 5
    assert shaded > 5


def test_trace_faces_away_from_the_sun_are_dark():
    ambient, sunlit, depth = traced([(BOX, (0, 1.5, 6, 1, 1.5, 1))], sun=np.array([0, 0.6, 0.8]))
    front = np.isclose(depth, 5.0, rtol=1e-5)
    assert front.sum() > 10
    assert sunlit[front].sum() == 0
    assert ambient[front].min() > 0


def test_trace_headlight_fades_with_distance_and_needs_no_sun():
    ambient, sunlit, depth = traced(headlight=True)
    ground = np.isfinite(depth)
    ray = rays()[ground]
    cosine = -ray[:, 1] / np.linalg.norm(ray, axis=1)
    light = np.sqrt(cosine) * np.minimum(36 / depth[ground] ** 2, 2.2)
    assert sunlit[ground][:, 3] / ambient[ground][:, 3] == pytest.approx(light / 0.7, rel=1e-4)


def test_trace_ground_is_darker_beside_a_wall():
    ambient, _, depth = traced([(BOX, (0, 1, 8, 3, 1, 0.5))])
    open_ambient, _, open_depth = traced()
    same = np.isclose(depth, open_depth, rtol=1e-6) & np.isfinite(depth)
    share = ambient[same][:, 0] / open_ambient[same][:, 0]
    spot = EYE + depth[same][:, None] * rays()[same]
    beyond = np.maximum(np.abs(spot - [0, 1, 8]) - [3, 1, 0.5], 0)
    gap = np.linalg.norm(beyond, axis=1)
    expected = np.where(gap**2 < 2, 1 - 0.38 * np.exp(-gap / 0.35), 1)
    assert share == pytest.approx(expected, abs=1e-4)
    assert share.min() < 0.9


def test_trace_side_of_a_box_is_lit_from_above_and_below():
    """A wall gets half of the sky and half of the bounce, dimmed only near the ground."""
    ambient, sunlit, depth = traced([(BOX, (0, 1.5, 6, 1, 1.5, 1))], sun=np.array([0, 0.6, -0.8]))
    front = np.isclose(depth, 5.0, rtol=1e-5)
    albedo = sunlit[front] / 0.8
    fill = ambient[front] / albedo
    height = (EYE + 5 * rays()[front])[:, 1]
    high = height > 0.4
    assert fill[high] == pytest.approx(np.tile((SKY[1] + BOUNCE) / 2, (high.sum(), 1)), rel=1e-4)


@pytest.mark.parametrize(
    ("texture", "share"),
    [
        ("plain", 0.0),
        ("tiles", 1 - 0.97**2),
        ("asphalt", 0.0),
        ("bricks", 1 - 0.88 * 0.95),
        ("windows", 0.56 * 0.5),
        ("shops", 1 - 0.96 * 0.95),
        ("planks", 0.08),
        ("bands", 0.5),
        ("slabs", 0.8 * (1 - 0.98**2) + 0.25 * 0.98**2 / 2),
    ],
)
def test_textures_show_their_second_colour_on_their_share(texture, share):
    rng = np.random.default_rng(1)
    spots = rng.uniform(-20, 20, (4000, 2))
    found = np.array([_mix(TEXTURES.index(texture), 0.5, u, v, 2) for u, v in spots])
    assert found[:, 0].mean() == pytest.approx(share, abs=0.025)
    assert found[:, 0].min() >= 0
    assert found[:, 0].max() <= 1
    assert found[:, 1].min() > 0.2
    assert found[:, 1].max() < 2.5
