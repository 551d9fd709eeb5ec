"""A look at a domain without writing a data set: a few people at all six cameras in one PNG."""

import dataclasses
from pathlib import Path

from fastreid_ext.rendered.contact_sheet import contact_sheet, decode, encode_png
from fastreid_ext.rendered.photographs import photographs
from fastreid_ext.rendered.plan import PlannedIdentity, PlannedImage, Settings

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
        domains: names of domains.
        path: of the PNG.
        seed: of the people.
        height: of one picture in pixels.
        width: likewise.
        identities: rows per domain; the fourth is a look-alike of the third.
        difficulty: "easy" or "hard"; each row is another session of the cameras.
    """
    rows = []
    for domain in domains:
        settings = Settings(domain, identities, 0, 2 * _CAMERAS, seed, height, width)
        settings = dataclasses.replace(settings, difficulty=difficulty)
        for person_id in range(1, identities + 1):
            images = tuple(PlannedImage(k, k // 2, "") for k in range(2 * _CAMERAS))
            planned = PlannedIdentity(person_id, 1, person_id - 1, images)
            rows.append([decode(jpeg) for _, jpeg, _ in photographs(settings, planned)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(contact_sheet(rows)))
