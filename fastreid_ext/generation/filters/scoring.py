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
from fastreid_ext.generation.filters.reid import Person, SourceFeatures
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
    """A model of a filter, not loaded yet.

    Attributes:
        fingerprint: of all that its scores depend on beside the drawings.
        open: loads it.
    """

    fingerprint: str
    open: Opener


class Scoring:
    """Gives identities the scores they lack; a model is loaded when it is first needed.

    Args:
        images: the generated set.
        records: folder of the identities' records.
        models: filter ("reid", "cctf", "clip") -> its model.
        open_source: returns the photographs' features, given what opens the Re-ID model.
        data_sets: DATASETS.NAMES, whose persons the set may show.
    """

    def __init__(
        self,
        images: Path,
        records: Path,
        models: Mapping[str, FilterModel],
        open_source: Callable[[Opener], SourceFeatures],
        data_sets: Sequence[str],
    ) -> None:
        self._images, self._records, self._models = images, records, models
        self._open_source, self._data_sets = open_source, data_sets
        self._opened: dict[str, Any] = {}

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        """Score a group of identities in one batch; returns no reasons, but raises.

        Raises:
            ValueError: a row is damaged, shows a person of another data set, or a model gives NaN.
        """
        rows = {name: read_identity(self._images / name) for name in names}
        for own in rows.values():
            self._expect_known(own)
        shown = [row for own in rows.values() for row in own if has_file(row)]
        pixels = read_images([row.path for row in shown])
        by_path = {row.path: image for row, image in zip(shown, pixels, strict=True)}
        stale = [model for model in self._models if self._is_stale(model, rows)]
        scores = self._scores(shown, pixels, stale)
        for name, own in rows.items():
            scored = [
                with_scores(row.image, scores[row.path]) if has_file(row) else row.image
                for row in own
            ]
            self._write(name, own, scored, by_path)
        return {}

    def _write(
        self,
        name: str,
        rows: Sequence[Row],
        scored: Sequence[GeneratedImage],
        pixels: Mapping[Path, Pixels | str],
    ) -> None:
        with_file = [row for row in rows if has_file(row)]
        record = make_record(with_file, [pixels[row.path] for row in with_file])
        before = read_record(self._records / f"{name}.json")
        models = {} if before is None or not before.fits(rows) else dict(before.models)
        models |= {model: entry.fingerprint for model, entry in self._models.items()}
        if list(scored) != [row.image for row in rows]:
            write_identity(self._images / name, scored)
        # Last: a record that is there says that the rows have their scores.
        write_record(self._records / f"{name}.json", IdentityRecord(models, record.files))

    def _scores(
        self, rows: Sequence[Row], pixels: Sequence[Pixels | str], models: Sequence[str]
    ) -> dict[Path, dict[str, float]]:
        """Return the new scores of each file."""
        unknown = {key: UNKNOWN[key] for model in models for key in KEYS[model]}
        scores = {row.path: dict(unknown) for row in rows}
        readable = [n for n, image in enumerate(pixels) if not isinstance(image, str)]
        persons = [_person(rows[n]) for n in readable]
        found = score_images([pixels[n] for n in readable], persons, self._scorers(models))
        for key, values in found.items():
            for n, value in zip(readable, values.tolist(), strict=True):
                scores[rows[n].path][key] = value
        return scores

    def open(self, name: str) -> Any:
        """Return a model, or with "source" the photographs' features; loaded once."""
        if name not in self._opened:
            if name == "source":
                self._opened[name] = self._open_source(lambda: self.open("reid"))
            else:
                self._opened[name] = self._models[name].open()
        return self._opened[name]

    def _scorers(self, models: Sequence[str]) -> Scorers:
        part = {name: self.open(name) for name in models}
        return Scorers(
            features=part.get("reid"),
            source=self.open("source") if "reid" in part else None,
            classifier=part.get("cctf"),
            clip=part.get("clip"),
        )

    def _is_stale(self, model: str, rows: Mapping[str, list[Row]]) -> bool:
        only = {model: self._models[model]}
        return not all(
            is_scored(own, read_record(self._records / f"{name}.json"), only)
            for name, own in rows.items()
        )

    def _expect_known(self, rows: Sequence[Row]) -> None:
        if "reid" not in self._models:
            return
        for row in rows[:1]:
            source = row.image.source_dataset
            if source not in self._data_sets:
                raise ValueError(
                    f"{row.where}: its person is of '{source}', but DATASETS.NAMES is "
                    f"{list(self._data_sets)}; name the data sets the drawings were made from"
                )


def is_scored(
    rows: Sequence[Row], record: IdentityRecord | None, models: Mapping[str, FilterModel]
) -> bool:
    """Whether the rows have the scores of these models, for the files as they are."""
    if record is None or not record.fits(rows):
        return False
    if any(record.models.get(name) != model.fingerprint for name, model in models.items()):
        return False
    keys = {key for name in models for key in KEYS[name]}
    return all(keys <= row.image.scores.keys() for row in rows if has_file(row))


def _person(row: Row) -> Person:
    return row.image.source_dataset, row.image.person_id
