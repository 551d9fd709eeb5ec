"""Keep or reject the generated images of one identity, from scores and thresholds alone."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from fastreid_ext.generation.filters import scores as names
from fastreid_ext.generation.filters.duplicates import nearest
from fastreid_ext.generation.filters.records import FileRecord, has_file
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row

OURS = "filter "  # prefix of the reasons that are decided here, and may be decided again


def decide(
    rows: Sequence[Row], files: Mapping[str, FileRecord], thresholds: Thresholds
) -> list[GeneratedImage]:
    """Decide on status, reason and ``duplicate_distance`` of the images of an identity.

    Images are visited from the best to the worst by the first filter of ``use`` that is a model. An
    image that passes all filters of ``use`` is kept, unless it is a near-duplicate of a kept one or
    ``max_images`` are kept. If fewer than ``min_images`` are kept, the best of those that models
    rejected are kept too. Rows that failed or were rejected elsewhere keep their status, and scores
    of unused filters stay.

    Args:
        rows: rows of one identity, in any order.
        files: ``file_name`` -> record of the file.
        thresholds: thresholds that decide, for every filter.

    Returns:
        The decided rows, in the order of ``rows``.

    Raises:
        ValueError: a row lacks the score of a filter of ``use``.
    """
    ranked = _best_first(rows, thresholds)
    kept: list[str] = []  # hashes of the kept images
    decided: dict[str, GeneratedImage] = {}
    for row in ranked:
        image = row.image
        file = files[image.file_name]
        distance = nearest(file.hash, kept) if file.hash else -1
        if not _is_foreign(image):
            reasons = _reasons(row, file, distance, len(kept), thresholds)
            status = "rejected" if reasons else "ok"
            reason = OURS + "; ".join(reasons) if reasons else ""
            image = dataclasses.replace(image, status=status, reason=reason)
        if image.status == "ok":
            kept.append(file.hash)
        decided[image.file_name] = names.with_scores(image, {names.DUPLICATE: distance})
    if len(kept) < thresholds.min_images:
        decided |= _keep_more(ranked, files, thresholds, kept, decided)
    return [decided.get(row.image.file_name, row.image) for row in rows]


def _keep_more(
    ranked: Sequence[Row],
    files: Mapping[str, FileRecord],
    thresholds: Thresholds,
    kept: list[str],
    decided: Mapping[str, GeneratedImage],
) -> dict[str, GeneratedImage]:
    """Keep rejected images, the best first, until ``min_images`` are kept.

    Unreadable files, near-duplicates of kept images and images rejected elsewhere stay rejected.

    Args:
        ranked: rows with a file, the best first.
        files: ``file_name`` -> record of the file.
        thresholds: thresholds that decide, for every filter.
        kept: hashes of the kept images, to which those of further images are added.
        decided: ``file_name`` -> decision of the filters.

    Returns:
        ``file_name`` -> decision of the further images that are kept.
    """
    more: dict[str, GeneratedImage] = {}
    for row in ranked:
        name = row.image.file_name
        image = decided[name]
        file = files[name]
        if len(kept) >= thresholds.min_images:
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
    """Tell whether an image was rejected elsewhere, which is never changed here."""
    return image.status == "rejected" and not image.reason.startswith(OURS)


def _reasons(
    row: Row, file: FileRecord, distance: int, kept: int, thresholds: Thresholds
) -> list[str]:
    """List the reasons to reject an image; duplicates and the limit count for good images only."""
    reasons = list(_model_reasons(row, file, thresholds))
    if not reasons and "duplicates" in thresholds.use and distance < thresholds.duplicates:
        return [f"duplicates: {distance} bits from a better image, below {thresholds.duplicates}"]
    if not reasons and kept == thresholds.max_images > 0:
        return [f"limit: {kept} better images are kept (MAX_PER_IDENTITY)"]
    return reasons


def _model_reasons(row: Row, file: FileRecord, thresholds: Thresholds) -> Iterator[str]:
    """Yield the reason of each filter that rejects an image."""
    if file.problem:
        yield f"unreadable: {file.problem}"
        return
    judges = {"reid": _reid, "cctf": _cctf, "clip": _clip}
    for name in thresholds.use:
        if name in judges and (reason := judges[name](row.image, thresholds)):
            yield f"{name}: {reason}"


def _reid(image: GeneratedImage, thresholds: Thresholds) -> str:
    similarity = image.scores[names.SIMILARITY]
    margin = image.scores[names.MARGIN]
    if margin == names.UNKNOWN[names.MARGIN]:
        return "there is no real image of its identity to compare with"
    lowest = thresholds.reid_of(image.source_dataset)
    parts = []
    if similarity < lowest:
        parts.append(
            f"similarity {similarity:.3f} to its identity's real images, below {lowest:.3f}"
        )
    if thresholds.require_nearest and margin < 0:
        parts.append(f"another identity's real images are nearer by {-margin:.3f}")
    return ", ".join(parts)


def _cctf(image: GeneratedImage, thresholds: Thresholds) -> str:
    score = image.scores[names.CCTF]
    if score == names.UNKNOWN[names.CCTF]:
        return "the classifier was not trained on its identity"
    below = f"probability {score:.3f} of its identity, below {thresholds.cctf:.3f}"
    return below if score < thresholds.cctf else ""


def _clip(image: GeneratedImage, thresholds: Thresholds) -> str:
    score = image.scores[names.CLIP]
    below = f"probability {score:.3f} of the wanted text, below {thresholds.clip:.3f}"
    return below if score < thresholds.clip else ""
