"""Keep or reject the drawings of one identity, from scores and thresholds alone."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from fastreid_ext.generation.filters import scores as names
from fastreid_ext.generation.filters.duplicates import nearest
from fastreid_ext.generation.filters.records import FileRecord, has_file
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row

OURS = "filter "  # begins the reasons that are decided here, and may be decided again


def decide(
    rows: Sequence[Row], files: Mapping[str, FileRecord], thresholds: Thresholds
) -> list[GeneratedImage]:
    """Return the rows of an identity with status, reason and ``duplicate_distance`` decided anew.

    The drawings are looked at from the best to the worst by the first filter of ``use`` that is a
    model. Each that passes all filters of ``use`` is kept, unless it is a near-duplicate of a kept
    one or enough are kept. If fewer than ``least`` are kept, the best of those that models rejected
    are kept too. Rows that failed, or that somebody else has rejected, stay as they are;
    so do the scores of the filters that are not used.

    Args:
        rows: of one identity.
        files: ``file_name`` -> record.
        thresholds: what decides.

    Raises:
        ValueError: a row lacks the score of a filter of ``use``.
    """
    kept: list[str] = []
    decided: dict[str, GeneratedImage] = {}
    for row in _best_first(rows, thresholds):
        image, file = row.image, files[row.image.file_name]
        distance = nearest(file.hash, kept) if file.hash else -1
        reasons = list(_reasons(row, file, thresholds))
        if not reasons and "duplicates" in thresholds.use and distance < thresholds.duplicates:
            reasons = [
                f"duplicates: {distance} bits from a better image, below {thresholds.duplicates}"
            ]
        if not reasons and len(kept) == thresholds.most > 0:
            reasons = [f"most: {thresholds.most} better images are kept (MAX_PER_IDENTITY)"]
        if not _is_foreign(image):
            status, reason = ("rejected", OURS + "; ".join(reasons)) if reasons else ("ok", "")
            image = dataclasses.replace(image, status=status, reason=reason)
        if image.status == "ok":
            kept.append(file.hash)
        decided[image.file_name] = names.with_scores(image, {names.DUPLICATE: distance})
    if len(kept) < thresholds.least:
        decided |= _filled_up(_best_first(rows, thresholds), files, thresholds, kept, decided)
    return [decided.get(row.image.file_name, row.image) for row in rows]


def _filled_up(
    rows: Sequence[Row],
    files: Mapping[str, FileRecord],
    thresholds: Thresholds,
    kept: list[str],
    decided: Mapping[str, GeneratedImage],
) -> dict[str, GeneratedImage]:
    """Keep rejected drawings, the best first, until ``least`` are kept.

    Unreadable files, near-duplicates of kept drawings and what somebody else has rejected stay
    rejected.

    Args:
        rows: rows with a file, the best first.
        files: ``file_name`` to record.
        thresholds: what decides.
        kept: hashes of the kept drawings; those of further ones are added.
        decided: ``file_name`` to the decision of the filters.

    Returns:
        ``file_name`` to the decision of further drawings that are kept.
    """
    more: dict[str, GeneratedImage] = {}
    for row in rows:
        name = row.image.file_name
        image, file = decided[name], files[name]
        if len(kept) >= thresholds.least:
            break
        if image.status != "rejected" or _is_foreign(image) or file.problem:
            continue
        distance = nearest(file.hash, kept)
        if "duplicates" in thresholds.use and distance < thresholds.duplicates:
            continue
        kept.append(file.hash)
        image = dataclasses.replace(image, status="ok", reason="")
        more[name] = names.with_scores(image, {names.DUPLICATE: distance})
    return more


def _best_first(rows: Sequence[Row], thresholds: Thresholds) -> list[Row]:
    with_file = [row for row in rows if has_file(row)]
    models = [name for name in thresholds.use if name != "duplicates"]
    for row in with_file:
        _expect_scores(row, models)
    if not models:
        return with_file
    key = names.KEYS[models[0]][0]
    return sorted(with_file, key=lambda row: -row.image.scores[key])  # stable: then as listed


def _expect_scores(row: Row, models: Sequence[str]) -> None:
    for model in models:
        missing = [key for key in names.KEYS[model] if key not in row.image.scores]
        if missing:
            raise ValueError(
                f"{row.where}: expected the score {missing[0]} for filter {model} of "
                f"GENERATION.FILTER.USE, got {sorted(row.image.scores)}; run "
                "tools/generate_persons.py filter without --decide-only, with the model of "
                f"GENERATION.FILTER.{model.upper()}"
            )


def _is_foreign(image: GeneratedImage) -> bool:
    return image.status == "rejected" and not image.reason.startswith(OURS)


def _reasons(row: Row, file: FileRecord, thresholds: Thresholds) -> Iterator[str]:
    """Yield why a drawing is not good, each filter for itself."""
    if file.problem:
        yield f"unreadable: {file.problem}"
        return
    found = {"reid": _reid, "cctf": _cctf, "clip": _clip}
    for name in thresholds.use:
        if name in found and (reason := found[name](row.image, thresholds)):
            yield f"{name}: {reason}"


def _reid(image: GeneratedImage, thresholds: Thresholds) -> str:
    similarity, margin = image.scores[names.SIMILARITY], image.scores[names.MARGIN]
    if margin == names.UNKNOWN[names.MARGIN]:
        return "there is no photograph of its person to compare with"
    least = thresholds.reid_of(image.source_dataset)
    parts = []
    if similarity < least:
        parts.append(f"similarity {similarity:.3f} to its person's photographs, below {least:.3f}")
    if thresholds.nearest and margin < 0:
        parts.append(f"another person's photographs are nearer by {-margin:.3f}")
    return ", ".join(parts)


def _cctf(image: GeneratedImage, thresholds: Thresholds) -> str:
    score = image.scores[names.CCTF]
    if score == names.UNKNOWN[names.CCTF]:
        return "the classifier has not learned its person"
    below = f"probability {score:.3f} of its person, below {thresholds.cctf:.3f}"
    return below if score < thresholds.cctf else ""


def _clip(image: GeneratedImage, thresholds: Thresholds) -> str:
    score = image.scores[names.CLIP]
    below = f"probability {score:.3f} of the wanted text, below {thresholds.clip:.3f}"
    return below if score < thresholds.clip else ""
