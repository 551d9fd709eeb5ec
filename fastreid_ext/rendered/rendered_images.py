"""Render all images of one identity, as JPEG bytes with their ground truth."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from fastreid_ext.rendered.camera_effects import encode, expose
from fastreid_ext.rendered.captions import caption
from fastreid_ext.rendered.difficulty import Difficulty, camera_in_session, difficulty
from fastreid_ext.rendered.dressing import DressedBody, dress, free_body
from fastreid_ext.rendered.identities import Identity, sample_identity, stream
from fastreid_ext.rendered.person_renderer import Rendering, render
from fastreid_ext.rendered.plan import PlannedIdentity, PlannedImage, Settings
from fastreid_ext.rendered.shots import Shot, as_front_walker, sample_shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, View, view

PASSERS_BY = 12  # bodies without a person id that walk through the images of others
_FIRST_PASSER_BY = 10**8
LEAST_VISIBLE = 0.6  # a shot that hides more of the body than this allows is sampled again
ATTEMPTS = 4


@functools.lru_cache(maxsize=2)
def passers_by(seed: int, domain: str) -> list[DressedBody]:
    """Dress the passers-by of a domain; each worker makes the same ones."""
    body, _ = free_body()
    crowd = [
        sample_identity(body, seed, domain, _FIRST_PASSER_BY + k, _FIRST_PASSER_BY)
        for k in range(PASSERS_BY)
    ]
    return [dress(person, person.outfit.bag_kind, seed, domain) for person in crowd]


def _render_image(
    settings: Settings,
    place: View,
    dressed: DressedBody,
    bag_kind: str,
    rng: np.random.Generator,
    *,
    is_front_walker: bool,
) -> tuple[np.ndarray, Rendering, Shot]:
    others = passers_by(settings.seed, settings.domain)
    for _ in range(ATTEMPTS):
        shot = sample_shot(
            place,
            bag_kind,
            len(others),
            rng,
            level=difficulty(settings.difficulty),
            unusual_poses=settings.unusual_poses,
        )
        if is_front_walker:
            shot = as_front_walker(shot, bag_kind, rng)
        rendering = render(place, dressed, others, shot, settings.height, settings.width)
        if rendering.visible >= LEAST_VISIBLE:
            break
    picture = expose(
        rendering.radiance, rendering.box, place.spec, shot, settings.height, settings.width, rng
    )
    return picture, rendering, shot


def identity_of(settings: Settings, planned: PlannedIdentity) -> Identity:
    """Sample the body, outfit and habits of a planned identity."""
    body, _ = free_body()
    period = difficulty(settings.difficulty).look_alike_period
    return sample_identity(
        body, settings.seed, settings.domain, planned.person_id, planned.first_of_split, period
    )


def render_images(
    settings: Settings, planned: PlannedIdentity
) -> Iterator[tuple[PlannedImage, bytes, dict]]:
    """Render an identity and yield each image's plan, JPEG bytes and row of annotations.jsonl."""
    seed = settings.seed
    domain = settings.domain
    level = difficulty(settings.difficulty)
    identity = identity_of(settings, planned)
    attributes = dataclasses.asdict(identity)
    del attributes["person_id"], attributes["betas"]
    is_front_walker = settings.front_walkers and planned.person_id <= settings.train_identities
    wardrobe: dict[str, DressedBody] = {}
    for image in planned.images:
        rng = stream(seed, domain, planned.person_id, image.index)
        bag_kind = identity.outfit.bag_kind
        if identity.puts_bag_down and rng.random() < 0.35:
            bag_kind = "none"
        if bag_kind not in wardrobe:
            wardrobe[bag_kind] = dress(identity, bag_kind, seed, domain)
        place = placed_view(settings, level, image.camera, planned.session)
        picture, rendering, shot = _render_image(
            settings, place, wardrobe[bag_kind], bag_kind, rng, is_front_walker=is_front_walker
        )
        row = _row(image, planned.session, identity, bag_kind, place, rendering, shot)
        yield image, encode(picture, place.spec.quality), {**row, "attributes": attributes}


def placed_view(settings: Settings, level: Difficulty, camera: int, session: int) -> View:
    """Look up the empty view of a camera, with the camera's state in a session."""
    still = view(settings.domain, camera)
    spec = camera_in_session(
        still.spec, settings.seed, settings.domain, camera, session, level.sessions
    )
    return dataclasses.replace(still, spec=spec)


def _rounded(values: np.ndarray | tuple, digits: int = 4) -> list:
    return np.asarray(values, dtype=np.float64).round(digits).tolist()


def _row(
    image: PlannedImage,
    session: int,
    identity: Identity,
    bag_kind: str,
    place: View,
    rendering: Rendering,
    shot: Shot,
) -> dict:
    """List the ground truth of one image, in the units of :mod:`.shots` and :mod:`.views`."""
    azimuth = shot.azimuth_deg()
    return {
        "file": image.file,
        "pid": identity.person_id,
        "camera": image.camera + 1,
        "session": session + 1,
        "modality": "infrared" if place.spec.infrared else "visible",
        "caption": caption(identity, bag_kind, shot.stance, azimuth),
        "viewpoint": {
            "azimuth_deg": round(azimuth, 2),
            "elevation_deg": round(shot.elevation_deg(place.spec.height), 2),
        },
        "occlusion": round(1.0 - rendering.visible, 4),
        "carried": bag_kind,
        "pose_name": shot.stance,
        "pose": _rounded(shot.pose),
        "place": {"x": round(shot.x, 4), "z": round(shot.z, 4), "yaw_rad": round(shot.yaw, 4)},
        "joints": _rounded(rendering.joints),
        "betas": list(identity.betas),
        "camera_parameters": {
            "position": _rounded(place.position),
            "rotation": _rounded(place.rotation, 6),
            "focal_px": round(place.focal, 3),
            "frame": [FRAME_HEIGHT, FRAME_WIDTH],
            "box": _rounded(rendering.box, 2),
        },
        "light": {
            "direction": _rounded(place.sun),
            "sun": round(shot.sun, 4),
            "fill": round(shot.fill * place.spec.fill, 4),
            "exposure": round(shot.exposure * place.spec.exposure, 4),
            "gains": _rounded(shot.gains * np.array(place.spec.gains)),
        },
        "companion": shot.companion >= 0,
    }
