"""Which images of a person were taken one after the other.

Sequence and frame are read off file names as the data sets write them. A name that tells neither
has the sequence "" and its place among the person's images of that camera as its frame.
"""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import PurePath
from typing import Protocol, TypeVar

_PATTERNS = (
    # Market-1501 (and ours): 0002_c1s1_000451_03.jpg, camera 1, sequence 1, frame 451.
    re.compile(r"_c\d+s(?P<sequence>\d+)_(?P<frame>\d+)"),
    # DukeMTMC-reID: 0001_c2_f0046182.jpg.
    re.compile(r"_c\d+_f(?P<frame>\d+)"),
    # MSMT17: 0000_003_01_0303morning_0015_2.jpg, day and part of it, then the frame.
    re.compile(r"^\d+_\d+_\d+_(?P<sequence>\d+[a-z]+)_(?P<frame>\d+)"),
)


class _Shot(Protocol):
    @property
    def camera(self) -> int: ...
    @property
    def sequence(self) -> str: ...
    @property
    def frame(self) -> int: ...


Shot = TypeVar("Shot", bound=_Shot)


def frames_of(paths: Sequence[str]) -> list[tuple[str, int]]:
    """Return (sequence, frame) of each image of one person in one camera."""
    in_order = {path: place for place, path in enumerate(sorted(paths, key=_natural))}
    return [_read(path) or ("", in_order[path]) for path in paths]


def longest_tracklet(shots: Sequence[Shot], max_gap: int) -> list[Shot]:
    """Return the images of the camera or tracklet that has most, in the order of their frames.

    Args:
        shots: images of one person.
        max_gap: neighbouring frames further apart than this, or of two sequences, belong to two
            tracklets; 0 = all images of a camera are one.

    Returns:
        Of two that are equally long the one of the lower camera, then the earlier one.
    """
    ordered = in_order(shots)
    tracklets: list[list[Shot]] = []
    for _, group in groupby(ordered, key=lambda shot: shot.camera):
        tracklets += _split(list(group), max_gap)
    return max(tracklets, key=len, default=[])


def in_order(shots: Sequence[Shot]) -> list[Shot]:
    """Return the images by camera, sequence and frame."""
    return sorted(shots, key=lambda shot: (shot.camera, _natural(shot.sequence), shot.frame))


def round_robin(shots: Sequence[Shot], most: int) -> list[Shot]:
    """Choose ``most`` images (0 = all), one of each camera in turn; returns them in order."""
    by_camera = [list(g) for _, g in groupby(in_order(shots), key=lambda shot: shot.camera)]
    turns = [(turn, shot) for own in by_camera for turn, shot in enumerate(own)]
    turns.sort(key=lambda pair: pair[0])  # stable: within a turn the cameras stay in order
    return in_order([shot for _, shot in turns[: most or None]])


def _split(shots: list[Shot], max_gap: int) -> list[list[Shot]]:
    if not max_gap:
        return [shots]
    parts = [shots[:1]]
    for before, shot in pairwise(shots):
        if shot.sequence != before.sequence or shot.frame - before.frame > max_gap:
            parts.append([])
        parts[-1].append(shot)
    return parts


def _read(path: str) -> tuple[str, int] | None:
    matches = (pattern.search(PurePath(path).name) for pattern in _PATTERNS)
    match = next((match for match in matches if match), None)
    return match and (match.groupdict().get("sequence", ""), int(match["frame"]))


def _natural(text: str) -> list[tuple[bool, int | str]]:
    """Sort "c10" after "c9"."""
    parts = re.findall(r"\d+|\D+", text)
    return [(True, int(part)) if part.isdecimal() else (False, part) for part in parts]
