"""Dress a figure: displace the skin under cloth, sew the pieces on, collect the shader's tables.

Done once per identity and bag; posing and rendering then use plain arrays only.
Letters: N vertices and M faces of the dressed mesh, S surfaces, R seam rules, V body vertices.
"""

import dataclasses
import functools

import numpy as np

from fastreid_ext.bodies.body_model import BodyModel, load_body
from fastreid_ext.bodies.parts import PART_NAMES
from fastreid_ext.bodies.render import vertex_normals
from fastreid_ext.rendered import accessories, cloth
from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.body_coordinates import Figure, face_zones, measure, zones_of
from fastreid_ext.rendered.garments import LOWERS
from fastreid_ext.rendered.identities import Identity, stream
from fastreid_ext.rendered.outfits import Outfit
from fastreid_ext.rendered.pieces import ANCHORS, JOINTS, Piece
from fastreid_ext.rendered.seams import SURFACES, piece_table, seam_table, waist_along
from fastreid_ext.rendered.tailoring import garment_pieces

_INFLUENCES = 4  # joints per vertex kept


@dataclasses.dataclass(frozen=True)
class DressedBody:
    """Body of one identity in one outfit, in rest pose."""

    vertices: np.ndarray  # (N, 3) float32 metres
    faces: np.ndarray  # (M, 3) int32
    influences: np.ndarray  # (N, 4) int32 joints or anchors
    shares: np.ndarray  # (N, 4) float32, rows sum to 1
    coordinates: np.ndarray  # (N, 3) float32: across, along, depth of the vertex's zone
    face_zone: np.ndarray  # (M,) int32
    rules: np.ndarray  # (R, 10) float32, sorted by zone
    rule_starts: np.ndarray  # (zones + 1,) first rule of each zone
    surfaces: np.ndarray  # (S, 14) float32, see :mod:`cloth`
    joints: np.ndarray  # (24, 3)
    salt: int  # of the cloth's noise


@functools.lru_cache(maxsize=1)
def free_body() -> tuple[BodyModel, np.ndarray]:
    """Load the shipped body and the zone of each of its vertices."""
    body = load_body()
    return body, zones_of(body.part, PART_NAMES)


def _wrinkles(coordinates: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Compute folds (V,) about [-1, 1]: a few slanted waves along the limb."""
    p, q, r = coordinates.T
    waves = np.sin(38 * q + 22 * p + phases[0]) + 0.8 * np.sin(61 * q - 30 * r + phases[1])
    return (waves + 0.7 * np.sin(24 * q - 40 * p + 18 * r + phases[2])) / 2.5


def _torso_ease(figure: Figure, outfit: Outfit, folds: np.ndarray) -> np.ndarray:
    q = figure.coordinates[:, 1]
    covered = (figure.zone == bc.TORSO) & (q > 0.01) & (q < waist_along(figure) + 0.02)
    hang = np.clip((q - 0.12) / 0.25, 0.0, 1.0)
    return covered * (
        outfit.thickness + hang * 0.5 * outfit.ease + folds * (0.003 + 0.1 * outfit.ease)
    )


def _sleeve_ease(figure: Figure, outfit: Outfit, folds: np.ndarray) -> np.ndarray:
    share = figure.coordinates[:, 1] / figure.arm_length
    covered = (figure.zone == bc.ARM) & (share < outfit.sleeve)
    wide = (
        0.45
        * outfit.ease
        * (0.35 + 0.65 * np.clip(share / 0.4, 0, 1))
        * np.where(share > 0.93, 0.4, 1.0)
    )
    return covered * (outfit.thickness + wide + folds * (0.003 + 0.1 * outfit.ease))


def _trouser_ease(figure: Figure, outfit: Outfit, folds: np.ndarray) -> np.ndarray:
    cut = LOWERS.get(outfit.lower_kind)
    if cut is None or cut.skirt:
        return np.zeros(len(figure.vertices))
    share = figure.coordinates[:, 1] / figure.leg_length
    legs = (figure.zone == bc.LEG) & (share < outfit.leg)
    hips = (figure.zone == bc.TORSO) & (figure.coordinates[:, 1] >= waist_along(figure) + 0.02)
    wide = outfit.leg_ease * (0.25 + 0.75 * np.clip(share / 0.6, 0, 1))
    ripple = folds * min(0.002 + 0.1 * outfit.leg_ease, 0.005)
    return legs * (0.006 + wide + ripple) + hips * (0.004 + 0.2 * outfit.leg_ease)


def _head_and_feet(figure: Figure, identity: Identity, folds: np.ndarray) -> np.ndarray:
    kind = identity.outfit.headwear_kind
    thickness = accessories.HAIR[identity.hair_style][0]
    if kind != "none":
        thickness = {"cap": 0.016, "hat": 0.03, "beanie": 0.022, "headscarf": 0.022}[kind]
    scalp = (figure.zone == bc.HAIR) * thickness * (1 + 0.25 * folds)
    shoe = 0.0 if identity.outfit.shoe_kind == "sandals" else 0.009
    feet = (figure.zone == bc.FOOT) * shoe
    if identity.outfit.shoe_kind == "boots":
        feet = (
            feet
            + ((figure.zone == bc.LEG) & (figure.coordinates[:, 1] > 0.68 * figure.leg_length))
            * 0.012
        )
    return scalp + feet


def displaced(figure: Figure, identity: Identity, phases: np.ndarray) -> np.ndarray:
    """Push the body's vertices (V, 3) out to where its cloth, hair and shoes lie."""
    folds = _wrinkles(figure.coordinates, phases)
    outfit = identity.outfit
    upper = np.maximum(_torso_ease(figure, outfit, folds), _sleeve_ease(figure, outfit, folds))
    amount = np.maximum(upper, _trouser_ease(figure, outfit, folds)) + _head_and_feet(
        figure, identity, folds
    )
    normals = vertex_normals(figure.vertices, figure.faces).astype(np.float64)
    return figure.vertices + normals * amount[:, None]


def _surface_table(identity: Identity) -> np.ndarray:
    outfit = identity.outfit
    dark = cloth.Cloth(fabric="rubber", colour="black", rgb=(0.012, 0.011, 0.012), nir=0.08)
    red, green, blue = identity.skin.rgb
    lips = cloth.Cloth(
        fabric="skin",
        colour="",
        rgb=(red * 0.75, green * 0.5, blue * 0.5),
        nir=identity.skin.nir * 0.9,
    )
    worn = {
        "skin": identity.skin, "hair": identity.hair, "upper": outfit.upper, "inner": outfit.inner,
        "print": outfit.print_cloth, "lower": outfit.lower, "shoes": outfit.shoes,
        "sole": outfit.sole,
        "bag": outfit.bag, "headwear": outfit.headwear, "scarf": outfit.scarf or dark,
        "dark": dark, "lips": lips,
    }  # fmt: skip
    return np.array([worn[name].row() for name in SURFACES], dtype=np.float32)


def _pieces(figure: Figure, identity: Identity, bag_kind: str) -> list[Piece]:
    return [
        *garment_pieces(figure, identity.outfit),
        *accessories.hair_pieces(figure, identity),
        *accessories.headwear_pieces(figure, identity),
        *accessories.bag_pieces(figure, bag_kind),
    ]


def _strongest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the joints (N, 4) that move each vertex most, and their shares (N, 4)."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    shares = np.take_along_axis(weights, joints, axis=1)
    return joints.astype(np.int32), (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def dress(identity: Identity, bag_kind: str, seed: int, domain: str) -> DressedBody:
    """Make the geometry and surfaces of an identity that carries a bag of ``bag_kind``."""
    body, zone = free_body()
    figure = measure(body, np.array(identity.betas), zone)
    rng = stream(seed, domain, identity.person_id, 2**31 - 2)
    phases = rng.uniform(0, 2 * np.pi, 3)
    pieces = _pieces(figure, identity, bag_kind)
    starts = np.cumsum([len(figure.vertices), *(len(piece.vertices) for piece in pieces)])
    zones = [face_zones(figure.zone, figure.faces)]
    rules = [seam_table(figure, identity, bag_kind)]
    for own_zone, piece in enumerate(pieces, start=bc.BODY_ZONES):
        zones.append(np.full(len(piece.faces), own_zone))
        reach = piece.coordinates[:, 1].max()
        rules.append(piece_table(own_zone, piece.surface, identity.outfit, figure, reach))
    influences, shares = _strongest(
        np.concatenate(
            [np.pad(figure.weights, ((0, 0), (0, ANCHORS))), *(piece.weights for piece in pieces)]
        )
    )
    table = np.concatenate(rules).astype(np.float32)
    return DressedBody(
        vertices=_joined(displaced(figure, identity, phases), *(p.vertices for p in pieces)),
        faces=np.concatenate(
            [figure.faces, *(p.faces + first for p, first in zip(pieces, starts, strict=False))]
        ).astype(np.int32),
        influences=influences,
        shares=shares,
        coordinates=_joined(figure.coordinates, *(p.coordinates for p in pieces)),
        face_zone=np.concatenate(zones).astype(np.int32),
        rules=table,
        rule_starts=np.searchsorted(table[:, 0], np.arange(bc.BODY_ZONES + len(pieces) + 1)),
        surfaces=_surface_table(identity),
        joints=figure.joints[:JOINTS],
        salt=int(rng.integers(1 << 16)),
    )


def _joined(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays).astype(np.float32)
