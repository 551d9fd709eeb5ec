"""The filter stage on a generated set: score each identity once, decide as often as wanted.

Any set in the manifest's layout will do, made by this project or not, as long as its rows name the
persons of the data sets in DATASETS.NAMES.
"""

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.clip import clip_source, open_clip_filter
from fastreid_ext.generation.filters.decide import OURS, decide
from fastreid_ext.generation.filters.records import (
    IdentityRecord,
    has_file,
    make_record,
    read_images,
    read_record,
    write_record,
)
from fastreid_ext.generation.filters.reid import Person, SourceFeatures
from fastreid_ext.generation.filters.scoring import FilterModel, Opener, Scoring, is_scored
from fastreid_ext.generation.filters.source_file import (
    FILE,
    Photograph,
    compute_source,
    photographs_of,
    read_source,
    source_fingerprint,
    write_source,
)
from fastreid_ext.generation.filters.thresholds import Thresholds, thresholds_of, write_thresholds
from fastreid_ext.generation.job.layout import Layout
from fastreid_ext.manifest import GeneratedImage, Row, read_identity, write_identity

THRESHOLDS = "thresholds.json"


class FilterRun:
    """The filters of a configuration on one generated set.

    Args:
        cfg: says which filters, thresholds, device, and where the photographs are.
        models: "reid" and "cctf", as far as there are, to fingerprint and opener, as
            ``fastreid_ext.deploy.filter_models`` gives them. A Re-ID model maps images to features
            (N, D), a classifier to probabilities (N, C) and has ``persons``, C names.
        images: the generated set; None: that of the job in OUTPUT_DIR.
        output: folder of the filters' files; None: that of the job.
    """

    def __init__(
        self,
        cfg: CfgNode,
        models: Mapping[str, tuple[str, Opener]],
        *,
        images: Path | None = None,
        output: Path | None = None,
    ) -> None:
        layout = Layout(Path(cfg.OUTPUT_DIR))
        self.images = images or layout.images
        self.output = output or layout.filter
        self._filters, self._cfg = cfg.GENERATION.FILTER, cfg
        self._given = dict(models)

    def names(self) -> list[str]:
        """Return the finished identities of the set, sorted.

        Raises:
            FileNotFoundError: there is none.
        """
        found = sorted(path.parent.name for path in self.images.glob("*/metadata.jsonl"))
        if not found:
            raise FileNotFoundError(
                f"no finished identity in {self.images}; give the folder of a generated set, or "
                "draw first"
            )
        return found

    def is_scored(self, name: str) -> bool:
        """Whether an identity has all scores of the models there are, for its files as they are."""
        try:
            rows = read_identity(self.images / name)
        except (FileNotFoundError, ValueError):
            return False
        if "reid" in self._models and not (self.output / FILE).is_file():
            return False
        return is_scored(rows, read_record(self._record(name)), self._models)

    def open_work(self) -> Scoring:
        """Return what scores identities, for ``run_stage``."""
        names = self._cfg.DATASETS.NAMES
        work = Scoring(self.images, self.output / "scored", self._models, self._source, names)
        if "reid" in self._models:
            work.open("source")  # thresholds need it, even if all drawings have their scores
        return work

    def decide(
        self, names: Sequence[str], unscored: Mapping[str, str] | None = None
    ) -> Counter[str]:
        """Decide on all drawings of identities by their scores; no model is loaded.

        Args:
            names: identities.
            unscored: those of them that could not be scored, with the reasons; all their drawings
                are rejected.

        Returns:
            Status -> number of rows.

        Raises:
            FileNotFoundError: the threshold is a percentile, and the photographs were not scored.
            ValueError: a row lacks a score.
        """
        thresholds, counts = self.thresholds(), Counter()
        for name in names:
            rows = read_identity(self.images / name)
            if reason := (unscored or {}).get(name, ""):
                decided = [_set_aside(row, reason) for row in rows]
            else:
                decided = decide(rows, self._looked_at(name, rows).files, thresholds)
            if decided != [row.image for row in rows]:
                write_identity(self.images / name, decided)
            counts.update(image.status for image in decided)
        return counts

    def thresholds(self) -> Thresholds:
        """Return what decides, and write it down.

        Raises:
            FileNotFoundError: it is a percentile, and the photographs were not looked at.
        """
        source = read_source(self.output / FILE)
        needs_source = "reid" in self._filters.USE and self._filters.REID.RULE == "percentile"
        if needs_source and source is None:
            raise FileNotFoundError(
                f"expected the similarities of the photographs in {self.output / FILE} for "
                "GENERATION.FILTER.REID.RULE percentile; run without --decide-only, with the "
                "model of GENERATION.FILTER.REID, or set RULE fixed"
            )
        thresholds = thresholds_of(self._filters, source)
        write_thresholds(self.output / THRESHOLDS, thresholds, source)
        return thresholds

    def photographs(self) -> dict[Person, list[Path]]:
        """Return the files of each person's photographs, {} if the data sets are not there."""
        files: dict[Person, list[Path]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            for person, file in self._photographs:
                files.setdefault(person, []).append(file)
        return files

    def _looked_at(self, name: str, rows: Sequence[Row]) -> IdentityRecord:
        """Return the record of an identity; files that nobody has looked at are read."""
        before = read_record(self._record(name))
        if before is not None and before.fits(rows):
            return before
        with_file = [row for row in rows if has_file(row)]
        record = make_record(with_file, read_images([row.path for row in with_file]))
        write_record(self._record(name), record)
        return record

    def _record(self, name: str) -> Path:
        return self.output / "scored" / f"{name}.json"

    @functools.cached_property
    def _models(self) -> dict[str, FilterModel]:
        models = {name: FilterModel(*given) for name, given in self._given.items()}
        if "reid" in models:
            print_of_all = source_fingerprint(models["reid"].fingerprint, self._photographs)
            models["reid"] = dataclasses.replace(models["reid"], fingerprint=print_of_all)
        if "clip" in self._filters.USE:
            opener = functools.partial(open_clip_filter, self._cfg)
            models["clip"] = FilterModel(clip_source(self._cfg)[0], opener)
        return models

    @functools.cached_property
    def _photographs(self) -> list[Photograph]:
        return photographs_of(self._cfg)

    def _source(self, open_model: Opener) -> SourceFeatures:
        """Return the photographs' features, computed unless they are there."""
        path, fingerprint = self.output / FILE, self._models["reid"].fingerprint
        with contextlib.suppress(ValueError):  # damaged: computed again
            source = read_source(path)
            if source is not None and source.fingerprint == fingerprint:
                return source
        source = compute_source(open_model(), self._photographs, fingerprint)
        write_source(path, source)
        return source


def _set_aside(row: Row, reason: str) -> GeneratedImage:
    if row.image.status == "failed":
        return row.image
    words = f"{OURS}failed: {reason}"
    return dataclasses.replace(row.image, status="rejected", reason=words)
