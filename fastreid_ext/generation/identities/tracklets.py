"""Tracklets: images of an identity that were taken one after the other by one camera.

Sequence and frame are parsed from the file names of the data sets. A name without them has the
sequence "" and, as its frame, its place among the identity's images of that camera.
"""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import PurePath
from typing import Protocol, TypeVar

_PATTERNS = (
    # Market-1501 (and rendered sets): 0002_c1s1_000451_03.jpg, camera 1, sequence 1, frame 451.
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
    """Parse (sequence, frame) of each image of one identity in one camera.

    Example:
        >>> frames_of(["0002_c1s1_000451_03.jpg", "0002_c1s1_000476_01.jpg"])
        [('1', 451), ('1', 476)]
    """
    in_order = {path: place for place, path in enumerate(sorted(paths, key=_natural))}
    return [_read(path) or ("", in_order[path]) for path in paths]


def longest_tracklet(shots: Sequence[Shot], max_gap: int) -> list[Shot]:
    """Find the camera or tracklet with the most images, in the order of their frames.

    Args:
        shots: images of one identity by all cameras.
        max_gap: largest distance of neighbouring frames in a tracklet, which also ends with its
            sequence; 0 to treat all images of a camera as one tracklet.

    Returns:
        The images; of two equally long tracklets those of the lower camera, then the earlier ones.
    """
    ordered = in_order(shots)
    tracklets: list[list[Shot]] = []
    for _, group in groupby(ordered, key=lambda shot: shot.camera):
        tracklets += _split(list(group), max_gap)
    return max(tracklets, key=len, default=[])


def in_order(shots: Sequence[Shot]) -> list[Shot]:
    """Sort the images by camera, sequence and frame."""
    return sorted(shots, key=lambda shot: (shot.camera, _natural(shot.sequence), shot.frame))


def round_robin(shots: Sequence[Shot], most: int) -> list[Shot]:
    """Choose up to ``most`` images (0 for all), one of each camera in turn, and sort them."""
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
    """Build a sort key that puts "c10" after "c9"."""
    parts = re.findall(r"\d+|\D+", text)
    return [(True, int(part)) if part.isdecimal() else (False, part) for part in parts]
