"""The camera networks: five domains of six cameras, each with its own place, light and sensor.

Written out by hand so that cameras of one domain differ clearly, and domains differ in character:
Campus is outdoor spring light on mid-range cameras, Mall warm and indoor, Station dim, cool and
noisy, Street hard summer sun seen from high up, and RenderedVI mixes visible cameras with infrared
ones (3 and 6).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CameraSpec:
    """One camera. Angles in degrees, lengths in metres; gains multiply linear red, green, blue."""

    height: float
    near: float  # bodies walk between near and far metres in front of it
    far: float
    heading: float  # usual walk: 0 towards the camera, 180 away, 90 to the picture's left
    spread: float  # how much headings scatter
    focal: float  # in frame heights
    gains: tuple[float, float, float]
    exposure: float
    gamma: float
    saturation: float
    contrast: float
    blur: float  # pixels of the native picture
    native: float  # approximate height of a body on the sensor, in pixels
    noise: float  # bytes
    quality: int  # JPEG
    sun: tuple[float, float, float]  # azimuth (0 behind the camera), elevation, strength
    sky: tuple[float, float, float]
    fill: float  # strength of the ambient light
    infrared: bool = False


def _camera(
    place: tuple, sensor: tuple, response: tuple, light: tuple, infrared: bool = False
) -> CameraSpec:
    return CameraSpec(*place, *response, *sensor, *light, infrared)


_DAY = (0.9, 1.0, 1.14)
_OVERCAST = (0.98, 1.0, 1.03)
_WARM = (1.16, 1.0, 0.78)
_COOL = (0.88, 1.0, 1.16)
_GREEN = (0.94, 1.05, 0.92)

# place: height, near, far, heading, spread, focal | sensor: blur, native, noise, quality
# response: gains, exposure, gamma, saturation, contrast | light: sun (azimuth, elevation,
# strength), sky, fill
DOMAINS: dict[str, tuple[CameraSpec, ...]] = {
    "RenderedCampus": (
        _camera(
            (3.2, 5.5, 9.5, 0, 35, 1.15),
            (0.6, 128, 3, 88),
            ((1.0, 1.0, 1.0), 1.02, 2.2, 1.0, 1.05),
            ((40, 45, 1.5), _DAY, 0.55),
        ),
        _camera(
            (2.6, 5.0, 9.0, 180, 35, 1.2),
            (0.7, 105, 4, 82),
            ((1.09, 1.0, 0.9), 1.11, 2.2, 0.9, 0.95),
            ((150, 40, 1.2), _DAY, 0.65),
        ),
        _camera(
            (4.6, 6.0, 10.5, 90, 30, 1.3),
            (0.6, 116, 3, 86),
            ((0.93, 1.0, 1.1), 0.92, 2.1, 1.05, 1.1),
            ((-70, 55, 0.4), _OVERCAST, 1.0),
        ),
        _camera(
            (3.6, 6.5, 11.0, -90, 30, 1.2),
            (0.9, 91, 4, 77),
            ((1.02, 1.03, 0.96), 0.98, 2.3, 0.85, 0.9),
            ((20, 60, 1.6), _DAY, 0.5),
        ),
        _camera(
            (5.2, 6.0, 9.5, 20, 90, 1.3),
            (0.7, 111, 4, 84),
            ((0.96, 1.0, 1.04), 1.18, 2.2, 0.8, 0.9),
            ((-120, 35, 0.9), _DAY, 0.8),
        ),
        _camera(
            (2.4, 4.5, 8.0, 150, 60, 1.05),
            (1.0, 82, 5, 72),
            ((1.06, 1.0, 0.94), 0.85, 2.2, 1.15, 1.15),
            ((0, 50, 0.2), _OVERCAST, 0.95),
        ),
    ),
    "RenderedMall": (
        _camera(
            (3.4, 5.0, 9.0, 0, 40, 1.15),
            (0.6, 122, 3, 87),
            ((1.1, 1.0, 0.86), 1.02, 2.2, 1.0, 1.0),
            ((30, 75, 0.5), _WARM, 0.85),
        ),
        _camera(
            (2.8, 4.5, 8.0, 180, 40, 1.1),
            (0.7, 108, 4, 84),
            ((1.17, 1.0, 0.77), 0.95, 2.2, 1.1, 1.05),
            ((-60, 80, 0.4), _WARM, 0.8),
        ),
        _camera(
            (4.4, 6.0, 10.0, -90, 35, 1.3),
            (0.8, 102, 3, 82),
            ((1.0, 1.0, 1.0), 1.21, 2.1, 0.8, 0.85),
            ((100, 70, 0.5), _OVERCAST, 0.9),
        ),
        _camera(
            (3.0, 4.5, 8.5, 90, 35, 1.15),
            (0.6, 128, 2, 90),
            ((1.04, 1.02, 0.93), 1.08, 2.3, 1.15, 1.1),
            ((160, 75, 0.3), _WARM, 0.9),
        ),
        _camera(
            (4.8, 5.5, 9.0, 30, 80, 1.25),
            (1.0, 88, 4, 76),
            ((1.08, 0.97, 0.93), 0.89, 2.2, 0.9, 0.95),
            ((-20, 80, 0.4), _WARM, 0.7),
        ),
        _camera(
            (2.5, 4.5, 7.5, 200, 60, 1.0),
            (0.9, 96, 4, 79),
            ((0.97, 1.03, 0.98), 1.15, 2.2, 0.85, 0.9),
            ((70, 70, 0.5), _OVERCAST, 0.75),
        ),
    ),
    "RenderedStation": (
        _camera(
            (3.0, 5.0, 9.5, 0, 30, 1.15),
            (0.8, 108, 4, 80),
            ((0.93, 1.02, 1.08), 1.08, 2.2, 0.8, 1.0),
            ((50, 80, 0.3), _COOL, 0.75),
        ),
        _camera(
            (3.8, 5.5, 10.0, 180, 30, 1.25),
            (0.8, 99, 5, 77),
            ((0.97, 1.04, 0.94), 1.02, 2.2, 0.75, 1.1),
            ((-40, 75, 0.3), _GREEN, 0.7),
        ),
        _camera(
            (2.6, 4.5, 8.0, 90, 30, 1.1),
            (0.7, 114, 5, 82),
            ((1.0, 1.0, 1.04), 1.18, 2.1, 0.85, 1.0),
            ((120, 70, 0.4), _COOL, 0.8),
        ),
        _camera(
            (4.4, 6.0, 10.0, -90, 30, 1.3),
            (0.9, 91, 6, 74),
            ((1.08, 1.0, 0.88), 0.98, 2.2, 0.85, 1.05),
            ((10, 80, 0.3), _WARM, 0.7),
        ),
        _camera(
            (3.4, 5.0, 9.0, 160, 70, 1.2),
            (0.7, 108, 4, 80),
            ((0.9, 1.0, 1.15), 1.28, 2.3, 0.7, 0.85),
            ((-90, 60, 0.6), _COOL, 0.75),
        ),
        _camera(
            (2.3, 4.5, 7.5, 20, 70, 1.05),
            (1.0, 96, 5, 77),
            ((1.02, 1.0, 0.97), 1.15, 2.2, 0.9, 1.15),
            ((180, 75, 0.4), _OVERCAST, 0.65),
        ),
    ),
    "RenderedStreet": (
        _camera(
            (4.6, 6.5, 11.0, 180, 35, 1.35),
            (0.6, 116, 3, 85),
            ((1.04, 1.0, 0.93), 1.05, 2.2, 1.2, 1.15),
            ((60, 40, 2.0), _DAY, 0.4),
        ),
        _camera(
            (5.4, 6.5, 10.5, 0, 35, 1.4),
            (0.7, 99, 3, 82),
            ((1.0, 1.0, 1.0), 1.15, 2.1, 1.1, 1.2),
            ((-50, 50, 1.9), _DAY, 0.4),
        ),
        _camera(
            (3.6, 5.5, 9.5, 90, 40, 1.2),
            (0.6, 125, 4, 88),
            ((1.08, 1.0, 0.88), 0.95, 2.2, 1.3, 1.1),
            ((120, 30, 1.8), _DAY, 0.45),
        ),
        _camera(
            (5.0, 7.0, 11.5, -90, 40, 1.4),
            (1.0, 85, 4, 74),
            ((0.95, 1.0, 1.06), 1.21, 2.3, 0.95, 1.0),
            ((-150, 45, 1.6), _DAY, 0.5),
        ),
        _camera(
            (3.2, 5.0, 9.0, 30, 80, 1.15),
            (0.8, 105, 4, 80),
            ((0.98, 1.02, 1.0), 0.89, 2.2, 1.1, 1.2),
            ((10, 60, 0.3), _OVERCAST, 0.9),
        ),
        _camera(
            (5.8, 6.5, 10.0, 200, 70, 1.45),
            (0.9, 93, 4, 77),
            ((1.1, 1.0, 0.85), 1.02, 2.2, 1.15, 1.1),
            ((80, 25, 1.7), _WARM, 0.5),
        ),
    ),
    "RenderedVI": (
        _camera(
            (2.6, 4.0, 8.0, 0, 50, 1.1),
            (0.6, 122, 3, 87),
            ((1.04, 1.0, 0.94), 1.08, 2.2, 1.0, 1.0),
            ((40, 75, 0.5), _OVERCAST, 0.8),
        ),
        _camera(
            (2.8, 4.0, 8.5, 170, 50, 1.1),
            (0.7, 108, 4, 84),
            ((1.09, 1.0, 0.86), 1.02, 2.2, 0.95, 1.05),
            ((-50, 75, 0.4), _WARM, 0.8),
        ),
        _camera(
            (2.5, 4.0, 8.0, 20, 90, 1.1),
            (0.7, 111, 4, 84),
            ((1.0, 1.0, 1.0), 1.02, 2.0, 0.0, 1.15),
            ((0, 10, 0.75), _OVERCAST, 0.08),
            True,
        ),
        _camera(
            (3.4, 5.5, 9.5, 20, 60, 1.2),
            (0.7, 114, 3, 85),
            ((0.97, 1.0, 1.06), 1.02, 2.2, 1.1, 1.1),
            ((60, 45, 1.3), _DAY, 0.6),
        ),
        _camera(
            (4.2, 5.5, 9.5, 200, 60, 1.25),
            (0.9, 96, 4, 80),
            ((1.04, 1.0, 0.95), 1.15, 2.1, 0.9, 0.95),
            ((-100, 50, 0.4), _OVERCAST, 0.95),
        ),
        _camera(
            (3.2, 5.0, 9.0, 180, 90, 1.15),
            (0.8, 101, 5, 80),
            ((1.0, 1.0, 1.0), 0.95, 2.1, 0.0, 1.2),
            ((0, 10, 1.5), _OVERCAST, 0.05),
            True,
        ),
    ),
}


def camera_specs(domain: str) -> tuple[CameraSpec, ...]:
    """List the six cameras of a domain, camera id 1 first."""
    if domain not in DOMAINS:
        raise ValueError(
            f"expected a domain of {', '.join(DOMAINS)}, got {domain!r}; use one of these names"
        )
    return DOMAINS[domain]
