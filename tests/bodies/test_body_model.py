"""Skinning against smplx, and the parts of the contract a person can check."""

import numpy as np
import pytest
import torch

from fastreid_ext.bodies.body_model import BodyModel, axis_angles, rotation_matrices
from fastreid_ext.bodies.parts import PARENTS, PART_NAMES, joint_index, part_index


def reference(model: BodyModel, betas, pose, translation):
    """The same body through smplx's own SMPL class: vertices (V, 3) and joints (24, 3)."""
    smplx = pytest.importorskip("smplx", reason="make test EXTRAS=dev,body")
    corrections = model.pose_directions
    if corrections is None:
        corrections = np.zeros((len(model.template), 3, 207), np.float32)
    struct = smplx.utils.Struct(
        v_template=model.template,
        f=model.faces,
        weights=model.weights,
        J_regressor=model.joint_regressor,
        shapedirs=model.shape_directions,
        posedirs=corrections,
        kintree_table=np.stack([model.parents, np.arange(24)]),
    )
    face = {"nose": 0, "reye": 1, "leye": 2, "rear": 3, "lear": 4}  # any vertices; not compared
    smpl = smplx.SMPL(
        "", data_struct=struct, vertex_ids=face, use_hands=False, use_feet_keypoints=False
    )
    as_tensor = lambda x: torch.as_tensor(np.asarray(x)[None], dtype=torch.float32)  # noqa: E731
    out = smpl(
        betas=as_tensor(betas),
        global_orient=as_tensor(pose[0]),
        body_pose=as_tensor(pose[1:].reshape(-1)),
        transl=as_tensor(translation),
    )
    return out.vertices[0].detach().numpy(), out.joints[0, :24].detach().numpy()


def synthetic_model(rng: np.random.Generator, vertices: int = 400) -> BodyModel:
    """Random numbers in SMPL's format, with pose corrections; it need not look like anything."""
    weights = rng.random((vertices, 24)) * (rng.random((vertices, 24)) < 0.15) + 1e-9
    regressor = rng.random((24, vertices))
    return BodyModel(
        template=rng.normal(size=(vertices, 3)).astype(np.float32),
        faces=rng.integers(0, vertices, (50, 3)).astype(np.int32),
        weights=(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
        joint_regressor=(regressor / regressor.sum(axis=1, keepdims=True)).astype(np.float32),
        shape_directions=(0.1 * rng.normal(size=(vertices, 3, 10))).astype(np.float32),
        pose_directions=(0.02 * rng.normal(size=(vertices, 3, 207))).astype(np.float32),
        part=np.zeros(vertices, np.int8),
    )


@pytest.mark.parametrize("case", range(5))
def test_equals_smplx_on_the_free_body(body, case):
    rng = np.random.default_rng(case)
    betas = rng.normal(size=10)
    pose = rng.normal(size=(24, 3)) * 0.6
    translation = rng.normal(size=3)
    posed = body.pose(betas, pose, translation)
    vertices, joints = reference(body, betas, pose, translation)
    np.testing.assert_allclose(posed.vertices, vertices, atol=1e-5)
    np.testing.assert_allclose(posed.joints, joints, atol=1e-5)


def test_equals_smplx_with_pose_corrections(rng):
    model = synthetic_model(rng)
    betas = rng.normal(size=10)
    pose = rng.normal(size=(24, 3))
    translation = rng.normal(size=3)
    posed = model.pose(betas, pose, translation)
    vertices, joints = reference(model, betas, pose, translation)
    np.testing.assert_allclose(posed.vertices, vertices, atol=1e-5)
    np.testing.assert_allclose(posed.joints, joints, atol=1e-5)
    without = BodyModel(**{**vars_of(model), "pose_directions": None})
    assert np.abs(without.pose(betas, pose, translation).vertices - vertices).max() > 0.01


def vars_of(model: BodyModel) -> dict:
    return {name: getattr(model, name) for name in BodyModel.__dataclass_fields__}


def test_no_pose_and_no_shape_is_the_template(body):
    posed = body.pose(np.zeros(10), np.zeros((24, 3)), (1.0, 2.0, 3.0))
    np.testing.assert_allclose(posed.vertices, body.template + np.float32([1, 2, 3]), atol=1e-6)
    np.testing.assert_allclose(posed.rest_vertices, body.template, atol=1e-7)


def test_a_quarter_turn_of_the_pelvis_faces_the_body_to_its_left(body):
    pose = np.zeros((24, 3))
    pose[0, 1] = np.pi / 2
    posed = body.pose(np.zeros(10), pose)
    nose = body.template[:, 2].argmax()  # the most forward vertex (toes or nose): +z turns to +x
    pelvis = body.joint_regressor[0] @ body.template
    offset = body.template[nose] - pelvis
    turned = np.array([offset[2], offset[1], -offset[0]])
    np.testing.assert_allclose(posed.vertices[nose] - pelvis, turned, atol=1e-5)


def test_bending_the_left_elbow_moves_only_what_hangs_on_it(body):
    pose = np.zeros((24, 3))
    pose[joint_index("left_elbow"), 1] = -np.pi / 2  # forearm from +x to +z: forward
    posed = body.pose(np.zeros(10), pose)
    rest = body.pose(np.zeros(10), np.zeros((24, 3)))
    moved = np.abs(posed.joints - rest.joints).max(axis=1) > 1e-4
    names = {"left_wrist", "left_hand"}
    assert {i for i in range(24) if moved[i]} == {joint_index(n) for n in names}
    forearm = posed.joints[joint_index("left_wrist")] - posed.joints[joint_index("left_elbow")]
    assert forearm[2] > 0.15
    assert abs(forearm[0]) < 0.01


def test_joint_transforms_carry_attached_points(body, rng):
    betas = rng.normal(size=10)
    pose = rng.normal(size=(24, 3)) * 0.4
    posed = body.pose(betas, pose, (0.5, 0, 0))
    rest_joints = body.joint_regressor @ body.shaped(betas)
    for j in range(24):
        carried = posed.joint_transforms[j] @ np.append(rest_joints[j], 1)
        np.testing.assert_allclose(carried[:3], posed.joints[j], atol=1e-5)


def test_batch_is_one_body_at_a_time(body, rng):
    betas = rng.normal(size=(3, 10))
    poses = rng.normal(size=(3, 24, 3)) * 0.3
    translations = rng.normal(size=(3, 3))
    batch = body.pose_batch(betas, poses, translations)
    for i, posed in enumerate(batch):
        alone = body.pose(betas[i], poses[i], translations[i])
        np.testing.assert_array_equal(posed.vertices, alone.vertices)
    with pytest.raises(ValueError, match="as many betas as poses"):
        body.pose_batch(betas, poses[:2], translations)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"betas": np.zeros(11)}, r"expected betas of shape \(10,\), got \(11,\)"),
        ({"pose": np.zeros(72)}, r"expected pose of shape \(24, 3\), got \(72,\)"),
        ({"translation": np.zeros(2)}, "expected translation"),
        ({"pose": np.full((24, 3), np.nan)}, "expected finite pose"),
    ],
)
def test_says_what_it_wanted(body, change, words):
    given = {"betas": np.zeros(10), "pose": np.zeros((24, 3)), "translation": np.zeros(3)}
    with pytest.raises(ValueError, match=words):
        body.pose(**{**given, **change})


def test_rotation_of_90_degrees_about_z_takes_x_to_y():
    (turn,) = rotation_matrices(np.array([[0, 0, np.pi / 2]]))
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_axis_angles_undo_rotation_matrices(rng):
    vectors = rng.normal(size=(50, 3))  # angles below pi
    vectors *= (rng.uniform(0, 3.1, 50) / np.linalg.norm(vectors, axis=1))[:, None]
    np.testing.assert_allclose(axis_angles(rotation_matrices(vectors)), vectors, atol=1e-9)


class TestFreeBody:
    """Promises of the shipped file."""

    def test_is_a_smpl_format_body_of_moderate_size(self, body):
        assert 5000 <= len(body.template) <= 9000
        assert body.weights.shape == (len(body.template), 24)
        np.testing.assert_allclose(body.weights.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(body.joint_regressor.sum(axis=1), 1, atol=1e-5)
        assert tuple(body.parents) == PARENTS

    def test_stands_in_t_pose_arms_level_facing_forward(self, body):
        joints = body.joint_regressor @ body.template
        at = {
            n: joints[joint_index(n)]
            for n in ("left_shoulder", "left_wrist", "left_ankle", "left_foot")
        }
        arm = at["left_wrist"] - at["left_shoulder"]
        assert arm[0] > 0.4
        assert np.abs(arm[1:]).max() < 0.02
        assert at["left_foot"][2] > at["left_ankle"][2] + 0.08  # toes point to +z
        low = body.template.min(axis=0)
        high = body.template.max(axis=0)
        assert 1.6 < high[1] - low[1] < 1.8
        assert 1.6 < high[0] - low[0] < 1.85

    def test_left_is_plus_x(self, body):
        left = body.template[body.part == part_index("left_hand")]
        right = body.template[body.part == part_index("right_hand")]
        assert left[:, 0].min() > 0.5
        assert right[:, 0].max() < -0.5

    def test_every_part_is_there_in_its_place(self, body):
        assert set(np.unique(body.part)) == set(range(len(PART_NAMES)))
        height = {n: body.template[body.part == i][:, 1].mean() for i, n in enumerate(PART_NAMES)}
        order = [
            "left_foot",
            "left_shin",
            "left_thigh",
            "hips",
            "torso",
            "neck",
            "face",
            "hair_cap",
        ]
        assert sorted(order, key=height.__getitem__) == order

    def test_faces_point_outwards(self, body):
        corners = body.template[body.faces].astype(np.float64)
        volume = np.einsum("fa,fa->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert 0.05 < volume < 0.11  # cubic metres, roughly kilograms / 1000

    @pytest.mark.parametrize("k", range(10))
    def test_two_standard_deviations_still_look_like_adults(self, body, k):
        for sign in (-2, 2):
            shape = body.shaped(sign * np.eye(10)[k])
            assert 1.45 < np.ptp(shape[:, 1]) < 2.0
            joints = body.joint_regressor @ shape
            assert (
                np.linalg.norm(joints[joint_index("left_knee")] - joints[joint_index("left_hip")])
                > 0.3
            )

    def test_first_direction_raises_the_crown(self, body):
        heights = [np.ptp(body.shaped(b * np.eye(10)[0])[:, 1]) for b in (-2, 0, 2)]
        assert heights == sorted(heights)

    def test_sampled_men_are_taller_than_sampled_women(self, body):
        rng = np.random.default_rng(0)
        heights = {
            gender: np.mean(
                [np.ptp(body.shaped(body.sample_betas(rng, gender))[:, 1]) for _ in range(100)]
            )
            for gender in ("man", "woman")
        }
        assert 1.72 < heights["man"] < 1.84
        assert 1.58 < heights["woman"] < 1.70

    def test_unknown_gender_is_refused(self, body, rng):
        with pytest.raises(ValueError, match="expected gender 'man', 'woman' or None"):
            body.sample_betas(rng, "male")
