"""Preview a domain without writing a data set: a few identities at all six cameras in one PNG."""

import dataclasses
from pathlib import Path

from fastreid_ext.pictures.contact_sheet import contact_sheet, decode
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.rendered.plan import PlannedIdentity, PlannedImage, Settings
from fastreid_ext.rendered.rendered_images import render_images

_CAMERAS = 6


def preview(
    domains: list[str],
    path: Path,
    *,
    seed: int,
    height: int = 128,
    width: int = 64,
    identities: int = 4,
    difficulty: str = "hard",
) -> None:
    """Write a PNG with ``identities`` rows of each domain, two pictures per camera.

    Args:
        domains: names of the domains, in the order of the rows.
        path: name of the PNG file to write.
        seed: seed of the data set that is previewed.
        height: height of one picture in pixels.
        width: width of one picture in pixels.
        identities: number of rows per domain; the fourth is a look-alike of the third.
        difficulty: "easy" or "hard"; each row is another session of the cameras.
    """
    rows = []
    for domain in domains:
        settings = Settings(domain, identities, 0, 2 * _CAMERAS, seed, height, width)
        settings = dataclasses.replace(settings, difficulty=difficulty)
        for person_id in range(1, identities + 1):
            images = tuple(PlannedImage(k, k // 2, "") for k in range(2 * _CAMERAS))
            planned = PlannedIdentity(person_id, 1, person_id - 1, images)
            rows.append([decode(jpeg) for _, jpeg, _ in render_images(settings, planned)])
    save_pixels(contact_sheet(rows), path)
