"""Difficulty of a rendered set: how cameras vary within it, and how many identities look alike.

Real cameras change with the hour: exposure, white balance and focus drift, so that one camera is
many. A set whose six cameras never change teaches a model to recognise the camera, and is easier
than a real one. "hard" gives each camera several sessions, as Market-1501's file names do
(``0007_c3s2_...``); an identity passes in one of them. "easy" has one session, the camera as
``domains`` describes it.
"""

import dataclasses
import zlib

import numpy as np

from fastreid_ext.rendered.domains import CameraSpec

_SESSION_STREAM = 2**31 - 5  # no image and no other stream has this index


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """Spread of cameras and identities. Deviations of factors are those of their logarithms.

    Attributes:
        sessions: number of states of each camera, >= 1.
        exposure: deviation of the exposure of a picture.
        gains: deviation of the gain of each colour of a picture.
        sharpness: smallest and largest resolution of a picture, relative to the camera's.
        motion_share: share of pictures with motion blur, in [0, 1].
        cut_share: share of pictures whose box cuts head or feet off, in [0, 1].
        look_alike_period: every so-many-th identity looks like the one before it, >= 2.
    """

    sessions: int
    exposure: float
    gains: float
    sharpness: tuple[float, float]
    motion_share: float
    cut_share: float
    look_alike_period: int


DIFFICULTIES = {
    "easy": Difficulty(
        sessions=1,
        exposure=0.1,
        gains=0.025,
        sharpness=(0.8, 1.2),
        motion_share=0.12,
        cut_share=0.08,
        look_alike_period=4,
    ),
    "hard": Difficulty(
        sessions=8,
        exposure=0.2,
        gains=0.05,
        sharpness=(0.45, 1.2),
        motion_share=0.25,
        cut_share=0.14,
        look_alike_period=2,
    ),
}


def difficulty(name: str) -> Difficulty:
    """Look up a difficulty by its name.

    Raises:
        ValueError: neither "easy" nor "hard".
    """
    if name not in DIFFICULTIES:
        raise ValueError(f"expected difficulty easy or hard, got {name!r}")
    return DIFFICULTIES[name]


def session_of(seed: int, domain: str, person_id: int, sessions: int) -> int:
    """Sample the session in [0, ``sessions``) in which an identity passes all cameras."""
    rng = np.random.default_rng([seed, zlib.crc32(domain.encode()), person_id, _SESSION_STREAM])
    return int(rng.integers(sessions))


def camera_in_session(
    spec: CameraSpec, seed: int, domain: str, camera: int, session: int, sessions: int
) -> CameraSpec:
    """Sample a camera's state in one session: light, white balance, focus and encoder.

    Args:
        spec: description of the camera by its domain.
        seed: seed of the data set; another seed gives other sessions.
        domain: name of the rendered domain.
        camera: number of the camera, from 0.
        session: number of the session, from 0.
        sessions: number of sessions; 1 leaves the camera unchanged.
    """
    if sessions == 1:
        return spec
    key = [seed, zlib.crc32(domain.encode()), camera, session, _SESSION_STREAM]
    rng = np.random.default_rng(key)

    def factor(deviation: float) -> float:
        return float(np.exp(rng.normal(0.0, deviation)))

    warmth = rng.normal(0.0, 0.13)  # red against blue, the usual error of a white balance
    tint = rng.normal(0.0, 0.06)  # green against both
    casts = np.exp([warmth, tint, -warmth])
    return dataclasses.replace(
        spec,
        gains=tuple((np.array(spec.gains) * casts).tolist()),
        exposure=spec.exposure * factor(0.28),
        gamma=spec.gamma * factor(0.07),
        saturation=spec.saturation * factor(0.25),
        contrast=spec.contrast * factor(0.12),
        blur=spec.blur * float(rng.uniform(0.8, 2.2)),
        native=spec.native * float(rng.uniform(0.55, 1.05)),
        noise=spec.noise * float(rng.uniform(0.8, 2.0)),
        quality=int(rng.integers(45, 90)),
        sun=(*spec.sun[:2], spec.sun[2] * float(rng.uniform(0.3, 1.1))),
    )
