"""The user's SMPL and SMPL-X files, emulated in their published layout (they are licensed)."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.bodies.parts import PARENTS, part_index

torch = pytest.importorskip("torch")


@pytest.fixture
def smpl_arrays(body, rng) -> dict:
    """The free body under SMPL's keys, with pose corrections and more than ten shapes."""
    count = len(body.template)
    return {
        "v_template": body.template.astype(np.float64),
        "f": body.faces.astype(np.uint32),
        "weights": body.weights.astype(np.float64),
        "J_regressor": body.joint_regressor.astype(np.float64),
        "shapedirs": np.concatenate(
            [body.shape_directions, rng.normal(size=(count, 3, 6))], axis=2
        ),
        "posedirs": 0.001 * rng.normal(size=(count, 3, 207)),
        "kintree_table": np.stack([np.array(PARENTS) % 2**32, np.arange(24)]),
    }


def pose_of(model, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    return model.pose(rng.normal(size=10), 0.3 * rng.normal(size=(24, 3))).vertices


def test_npz_equals_its_arrays(tmp_path, body, smpl_arrays):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **smpl_arrays)
    model = load_body(tmp_path / "SMPL_NEUTRAL.npz")
    np.testing.assert_allclose(model.template, body.template)
    assert model.shape_directions.shape[2] == 10
    assert model.pose_directions.shape == (len(body.template), 3, 207)
    known = body.part != part_index("eyes")
    # Thinning the mesh moved the head's bounding box by a hair, so a few labels of the head may
    # differ.
    assert (model.part[known] == body.part[known]).mean() > 0.99
    assert (
        np.abs(pose_of(model) - pose_of(body)).max() < 0.05
    )  # differs by the small corrections only


@pytest.fixture
def fake_chumpy(monkeypatch):
    """Modules named chumpy, so that files can be written as the originals were."""

    class Ch:
        def __init__(self, **fields):
            self.__dict__.update(fields)
            # The bookkeeping that chumpy pickles along, sets among it.
            self.__dict__.update(
                _dirty_vars={"x"}, _itr=None, _depends_on_deps={"r": {"deps": set()}}
            )

        def __getstate__(self):
            return self.__dict__

    class Select(Ch):
        pass

    modules = {}
    for name, cls in (("chumpy.ch", Ch), ("chumpy.reordering", Select)):
        module = types.ModuleType(name)
        cls.__module__ = name
        cls.__qualname__ = cls.__name__
        setattr(module, cls.__name__, cls)
        modules[name] = module
    modules["chumpy"] = types.ModuleType("chumpy")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield Ch, Select
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_chumpy_pickle_reads_without_chumpy(
    tmp_path, smpl_arrays, fake_chumpy, monkeypatch, protocol
):
    array, select = fake_chumpy
    stored = dict(smpl_arrays)
    stored["shapedirs"] = array(x=smpl_arrays["shapedirs"])
    flat = smpl_arrays["v_template"].ravel()
    stored["v_template"] = select(
        a=array(x=flat), idxs=np.arange(flat.size), preferred_shape=smpl_arrays["v_template"].shape
    )
    stored["J_regressor"] = scipy.sparse.csc_matrix(smpl_arrays["J_regressor"])
    stored["bs_type"] = "lrotmin"
    path = tmp_path / "basicModel_neutral.pkl"
    path.write_bytes(pickle.dumps(stored, protocol=protocol))
    for name in ("chumpy.ch", "chumpy.reordering", "chumpy"):
        monkeypatch.delitem(sys.modules, name)
    np.savez(tmp_path / "plain.npz", **smpl_arrays)
    np.testing.assert_array_equal(
        pose_of(load_body(path)), pose_of(load_body(tmp_path / "plain.npz"))
    )


def test_python_2_pickle_names_are_understood(tmp_path, smpl_arrays):
    smaller = {k: v for k, v in smpl_arrays.items() if k != "posedirs"}
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(smaller, protocol=2).replace(b"numpy._core.", b"numpy.core."))
    assert load_body(path).pose_directions is None


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {witness}",)

    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({"v_template": Attack()}))
    with pytest.raises(
        pickle.UnpicklingError, match=r"got \w+\.system; a body file never needs it"
    ):
        load_body(path)
    assert not witness.exists()


@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__"])
def test_builtins_are_refused(tmp_path, module, name):
    path = tmp_path / "m.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(pickle.UnpicklingError, match=f"builtins.{name}"):
        load_body(path)


class TestRefusals:
    def test_missing_file(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"no body file at .*https://smpl\.is\.tue\.mpg\.de"
        ):
            load_body(tmp_path / "SMPL_NEUTRAL.pkl")

    def test_other_ending(self, tmp_path):
        (tmp_path / "a.obj").touch()
        with pytest.raises(ValueError, match=r"ending in \.npz or \.pkl"):
            load_body(tmp_path / "a.obj")

    def test_not_a_dictionary(self, tmp_path):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps([1, 2]))
        with pytest.raises(ValueError, match="expected a dictionary of arrays, got list"):
            load_body(tmp_path / "a.pkl")

    def test_objects_inside_npz(self, tmp_path, smpl_arrays):
        np.savez(tmp_path / "a.npz", **{**smpl_arrays, "f": np.array([{}], dtype=object)})
        with pytest.raises(ValueError, match=r"pickled objects inside the \.npz; use the \.pkl"):
            load_body(tmp_path / "a.npz")

    @pytest.mark.parametrize(
        ("key", "change", "words"),
        [
            ("weights", None, r"missing \['weights'\]; is this a pose file"),
            ("weights", lambda x: x[:, :23], r"expected weights of shape \(\d+, 24\)"),
            ("J_regressor", lambda x: x[:, :-1], r"expected J_regressor of shape \(24, \d+\)"),
            ("shapedirs", lambda x: x[:, :, :5], r"expected shapedirs \(\d+, 3, 10 or more\)"),
            ("posedirs", lambda x: x[:, :, :9], r"expected posedirs of shape \(\d+, 3, 207\)"),
            ("v_template", lambda x: x * np.nan, "expected finite numbers in v_template"),
            ("f", lambda x: x + 10**6, r"expected faces within \d+ vertices"),
            (
                "kintree_table",
                lambda x: x[:, :20],
                r"expected 24 joints \(SMPL\) or 55 \(SMPL-X\), got 20",
            ),
            ("kintree_table", lambda x: x[:, ::-1], "expected SMPL's joint tree"),
        ],
    )
    def test_broken_contents(self, tmp_path, smpl_arrays, key, change, words):
        broken = dict(smpl_arrays)
        if change is None:
            del broken[key]
        else:
            broken[key] = change(broken[key])
        np.savez(tmp_path / "a.npz", **broken)
        with pytest.raises(ValueError, match=words):
            load_body(tmp_path / "a.npz")


@pytest.fixture(scope="module")
def smplx_file(tmp_path_factory):
    """A random model in SMPL-X's layout; smplx wants at least 9,930 vertices."""
    rng = np.random.default_rng(0)
    count = 9930
    joints = 55
    weights = rng.random((count, joints)) * (rng.random((count, joints)) < 0.05) + 1e-9
    regressor = rng.random((joints, count))
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
    for wrist in (20, 21):
        first = len(parents)
        for finger in range(5):
            parents += [wrist, first + 3 * finger, first + 3 * finger + 1]
    path = tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz"
    np.savez(
        path,
        v_template=rng.normal(size=(count, 3)).astype(np.float32),
        f=rng.integers(0, count, (100, 3)),
        weights=(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
        J_regressor=(regressor / regressor.sum(axis=1, keepdims=True)).astype(np.float32),
        shapedirs=(0.1 * rng.normal(size=(count, 3, 20))).astype(np.float32),
        posedirs=(0.01 * rng.normal(size=(count, 3, 486))).astype(np.float32),
        kintree_table=np.stack([np.array(parents), np.arange(joints)]),
        hands_componentsl=np.eye(45), hands_componentsr=np.eye(45),
        hands_meanl=np.zeros(45), hands_meanr=np.zeros(45),
        lmk_faces_idx=np.zeros(51, int), lmk_bary_coords=np.full((51, 3), 1 / 3),
    )  # fmt: skip
    return path


def test_smplx_with_flat_hands_equals_the_smplx_package(smplx_file):
    smplx = pytest.importorskip("smplx", reason="make test EXTRAS=dev,body")
    rng = np.random.default_rng(1)
    betas = rng.normal(size=10)
    pose = 0.5 * rng.normal(size=(24, 3))
    pose[22:] = 0  # flat hands
    reference = smplx.SMPLX(str(smplx_file), use_pca=False, flat_hand_mean=True, num_betas=10)
    as_tensor = lambda x: torch.as_tensor(x.reshape(1, -1), dtype=torch.float32)  # noqa: E731
    out = reference(
        betas=as_tensor(betas), global_orient=as_tensor(pose[0]), body_pose=as_tensor(pose[1:22])
    )
    posed = load_body(smplx_file).pose(betas, pose)
    np.testing.assert_allclose(posed.vertices, out.vertices[0].detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(posed.joints[:22], out.joints[0, :22].detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(posed.joints[22], out.joints[0, 28].detach().numpy(), atol=2e-5)


def test_smplx_eyes_are_found_by_their_joints(smplx_file):
    model = load_body(smplx_file)
    with np.load(smplx_file) as file:
        of_eyes = file["weights"][:, 23:25].sum(axis=1) > 0.5
    assert of_eyes.any()
    np.testing.assert_array_equal(model.part == part_index("eyes"), of_eyes)
