"""Score identities: the work of the filter stage."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.generation.filters.records import (
    IdentityRecord,
    Pixels,
    has_file,
    make_record,
    read_images,
    read_record,
    write_record,
)
from fastreid_ext.generation.filters.reid import IdentityKey, SourceFeatures
from fastreid_ext.generation.filters.scores import (
    KEYS,
    UNKNOWN,
    Scorers,
    score_images,
    with_scores,
)
from fastreid_ext.manifest import GeneratedImage, Row, read_identity, write_identity

Opener = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class FilterModel:
    """Model of a filter that is loaded when it is first needed.

    Attributes:
        fingerprint: hash of everything but the generated images that its scores depend on.
        open: function that loads the model.
        trained_on: names of the data sets that the model was trained on.
        saw_tests: whether it was also trained on their test images (COMBINEALL).
    """

    fingerprint: str
    open: Opener
    trained_on: tuple[str, ...] = ()
    saw_tests: bool = False


class Scoring:
    """Work that computes the missing scores of identities and writes them into their rows.

    Args:
        images: folder of the generated set.
        records: folder of the identities' records.
        models: filter ("reid", "cctf", "clip") -> its model; "reid/<data set>" is the Re-ID model
            of one data set's identities, "reid" that of all others.
        open_source: function of the name and the opener of a Re-ID model that returns the features
            of the real images.
        data_sets: DATASETS.NAMES, whose identities the set may show.
    """

    def __init__(
        self,
        images: Path,
        records: Path,
        models: Mapping[str, FilterModel],
        open_source: Callable[[str, Opener], SourceFeatures],
        data_sets: Sequence[str],
    ) -> None:
        self._images = images
        self._records = records
        self._models = models
        self._open_source = open_source
        self._data_sets = data_sets
        self._opened: dict[str, Any] = {}

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        """Score a group of identities in one batch.

        Returns:
            Always {}: failures raise, so that the stage finds the identity that caused them.

        Raises:
            ValueError: a row is damaged, names another data set, or a model gives NaN.
        """
        rows = {name: read_identity(self._images / name) for name in names}
        by_set: dict[str, dict[str, list[Row]]] = {}
        for name, own in rows.items():
            self._expect_known(own)
            data_set = own[0].image.source_dataset if own else ""
            by_set.setdefault(data_set, {})[name] = own
        for data_set, own_rows in by_set.items():
            self._score(data_set, own_rows)
        return {}

    def _score(self, data_set: str, rows: Mapping[str, list[Row]]) -> None:
        """Score identities of one data set."""
        models = models_for(self._models, data_set)
        shown = [row for own in rows.values() for row in own if has_file(row)]
        pixels = read_images([row.path for row in shown])
        by_path = {row.path: image for row, image in zip(shown, pixels, strict=True)}
        stale = {name: m for name, m in models.items() if self._is_stale({name: m}, rows)}
        scores = self._scores(shown, pixels, data_set, list(stale))
        for name, own in rows.items():
            scored = [
                with_scores(row.image, scores[row.path]) if has_file(row) else row.image
                for row in own
            ]
            self._write(name, own, scored, by_path, models)

    def _write(
        self,
        name: str,
        rows: Sequence[Row],
        scored: Sequence[GeneratedImage],
        pixels: Mapping[Path, Pixels | str],
        models: Mapping[str, FilterModel],
    ) -> None:
        with_file = [row for row in rows if has_file(row)]
        record = make_record(with_file, [pixels[row.path] for row in with_file])
        before = read_record(self._records / f"{name}.json")
        known = {} if before is None or not before.fits(rows) else dict(before.models)
        known |= {model: entry.fingerprint for model, entry in models.items()}
        if list(scored) != [row.image for row in rows]:
            write_identity(self._images / name, scored)
        # Last, because an existing record means that the rows have their scores.
        write_record(self._records / f"{name}.json", IdentityRecord(known, record.files))

    def _scores(
        self,
        rows: Sequence[Row],
        pixels: Sequence[Pixels | str],
        data_set: str,
        models: Sequence[str],
    ) -> dict[Path, dict[str, float]]:
        """Compute the new scores of each file."""
        unknown = {key: UNKNOWN[key] for model in models for key in KEYS[model]}
        scores = {row.path: dict(unknown) for row in rows}
        readable = [n for n, image in enumerate(pixels) if not isinstance(image, str)]
        identities = [_identity_key(rows[n]) for n in readable]
        found = score_images(
            [pixels[n] for n in readable], identities, self._scorers(data_set, models)
        )
        for key, values in found.items():
            for n, value in zip(readable, values.tolist(), strict=True):
                scores[rows[n].path][key] = value
        return scores

    def open(self, name: str) -> Any:
        """Load a model once."""
        if name not in self._opened:
            self._opened[name] = self._models[name].open()
        return self._opened[name]

    def source(self, name: str) -> SourceFeatures:
        """Read or compute the features of the real images by a Re-ID model once."""
        key = f"source of {name}"
        if key not in self._opened:
            self._opened[key] = self._open_source(name, lambda: self.open(name))
        return self._opened[key]

    def _scorers(self, data_set: str, models: Sequence[str]) -> Scorers:
        reid = reid_name(self._models, data_set)
        part = {name: self.open(reid if name == "reid" else name) for name in models}
        return Scorers(
            features=part.get("reid"),
            source=self.source(reid) if "reid" in part else None,
            classifier=part.get("cctf"),
            clip=part.get("clip"),
        )

    def _is_stale(self, models: Mapping[str, FilterModel], rows: Mapping[str, list[Row]]) -> bool:
        return not all(
            is_scored(own, read_record(self._records / f"{name}.json"), models)
            for name, own in rows.items()
        )

    def _expect_known(self, rows: Sequence[Row]) -> None:
        if not any(is_reid(name) for name in self._models):
            return
        for row in rows[:1]:
            source = row.image.source_dataset
            if source not in self._data_sets:
                raise ValueError(
                    f"{row.where}: its identity is of '{source}', but DATASETS.NAMES is "
                    f"{list(self._data_sets)}; name the data sets that the set was made from"
                )


def is_reid(name: str) -> bool:
    """Tell whether a name is that of a Re-ID model: "reid" or "reid/<data set>"."""
    return name.partition("/")[0] == "reid"


def reid_name(models: Mapping[str, FilterModel], data_set: str) -> str:
    """Return the name of the Re-ID model that judges the identities of a data set."""
    own = f"reid/{data_set}"
    return own if own in models else "reid"


def models_for(models: Mapping[str, FilterModel], data_set: str) -> dict[str, FilterModel]:
    """Select the models that judge the identities of a data set, one per filter."""
    found = {name: model for name, model in models.items() if not is_reid(name)}
    name = reid_name(models, data_set)
    return found | ({"reid": models[name]} if name in models else {})


def is_scored(
    rows: Sequence[Row], record: IdentityRecord | None, models: Mapping[str, FilterModel]
) -> bool:
    """Check that rows have the scores of these models for their files as they are now."""
    if record is None or not record.fits(rows):
        return False
    if any(record.models.get(name) != model.fingerprint for name, model in models.items()):
        return False
    keys = {key for name in models for key in KEYS[name]}
    return all(keys <= row.image.scores.keys() for row in rows if has_file(row))


def _identity_key(row: Row) -> IdentityKey:
    return row.image.source_dataset, row.image.person_id
