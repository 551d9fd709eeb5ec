"""Filters of a configuration on one generated set: score each identity once, decide repeatedly.

Who does what:

- :class:`.scoring.Scoring` lets the models score the images and writes the scores into the rows;
- :func:`.thresholds.thresholds_of` turns settings and real images into thresholds;
- :func:`.decide.decide` turns scores and thresholds into "ok" or "rejected", without any model;
- :class:`FilterRun` knows the set, its identities and the files in between.

Any set in the manifest's layout will do, as long as its rows name identities of the data sets in
DATASETS.NAMES.
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
from fastreid_ext.generation.filters.reid import IdentityKey
from fastreid_ext.generation.filters.scoring import FilterModel, Scoring, is_scored, models_for
from fastreid_ext.generation.filters.source_file import FILE, read_sources, real_images_of
from fastreid_ext.generation.filters.source_store import SourceStore
from fastreid_ext.generation.filters.thresholds import Thresholds, thresholds_of, write_thresholds
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import GeneratedImage, Row, read_identity, write_identity

THRESHOLDS = "thresholds.json"


class FilterRun:
    """Filters of a configuration on one generated set.

    Args:
        cfg: configuration of filters, thresholds and device, and of the data sets with the real
            images.
        models: filter -> fields of its :class:`.scoring.FilterModel`, as
            ``fastreid_ext.deploy.filter_models`` returns them. "reid" maps images to features
            (N, D), "reid/<data set>" does so for one data set; "cctf" maps images to probabilities
            (N, C) and has ``identities``, the names of the C classes.
        images: folder of the generated set; None for that of the job in OUTPUT_DIR.
        output: folder of the filters' files; None for that of the job.
    """

    def __init__(
        self,
        cfg: CfgNode,
        models: Mapping[str, tuple],
        *,
        images: Path | None = None,
        output: Path | None = None,
    ) -> None:
        layout = Layout(Path(cfg.OUTPUT_DIR))
        self.images = images or layout.images
        self.output = output or layout.filter
        self._cfg = cfg
        self._filters = cfg.GENERATION.FILTER
        self._given = {name: FilterModel(*fields) for name, fields in models.items()}
        self._sources = SourceStore(
            cfg, self._given, self.output, needs_unseen=self._needs_percentile
        )

    def names(self) -> list[str]:
        """List the finished identities of the set, sorted.

        Raises:
            FileNotFoundError: the set has no finished identity.
        """
        found = sorted(path.parent.name for path in self.images.glob("*/metadata.jsonl"))
        if not found:
            raise FileNotFoundError(
                f"no finished identity in {self.images}; give the folder of a generated set, or "
                "generate images first"
            )
        return found

    def real_images(self) -> dict[IdentityKey, list[Path]]:
        """Map each identity to the files of its real images; {} if the data sets are missing."""
        files: dict[IdentityKey, list[Path]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            for identity, file in real_images_of(self._cfg, self._cfg.DATASETS.NAMES):
                files.setdefault(identity, []).append(file)
        return files

    # Scoring

    def is_scored(self, name: str) -> bool:
        """Check that an identity has the scores of all models for its files as they are now."""
        try:
            rows = read_identity(self.images / name)
        except (FileNotFoundError, ValueError):
            return False
        if not all(self._sources.is_complete(model) for model in self._sources.used_models):
            return False
        data_set = rows[0].image.source_dataset if rows else ""
        models = models_for(self._models, data_set)
        return is_scored(rows, read_record(self._record_file(name)), models)

    def open_work(self) -> Scoring:
        """Build the work of the scoring stage for :func:`.runs.stage.run_stage`."""
        names = self._cfg.DATASETS.NAMES
        work = Scoring(
            self.images, self.output / "scored", self._models, self._sources.features, names
        )
        for model in self._sources.used_models:
            work.source(model)  # thresholds need it, even if all images have their scores
        return work

    # Deciding

    def decide(
        self, names: Sequence[str], unscored: Mapping[str, str] | None = None
    ) -> Counter[str]:
        """Decide on all generated images of identities by their scores, without loading a model.

        Args:
            names: names of the identities to decide on.
            unscored: identity -> reason why it could not be scored; all its images are rejected.

        Returns:
            Status -> number of rows.

        Raises:
            FileNotFoundError: the threshold is a percentile, and the real images have no scores.
            ValueError: a row lacks a score.
        """
        thresholds = self.thresholds()
        counts: Counter[str] = Counter()
        for name in names:
            rows = read_identity(self.images / name)
            if reason := (unscored or {}).get(name, ""):
                decided = [_rejected_unscored(row, reason) for row in rows]
            else:
                decided = decide(rows, self._record(name, rows).files, thresholds)
            if decided != [row.image for row in rows]:
                write_identity(self.images / name, decided)
            counts.update(image.status for image in decided)
        return counts

    def thresholds(self) -> Thresholds:
        """Compute the thresholds and write them to ``thresholds.json``.

        Raises:
            FileNotFoundError: a threshold is a percentile, and the real images have no scores.
        """
        sources = read_sources(self.output)
        if self._needs_percentile and not sources:
            raise FileNotFoundError(
                f"expected the similarities of the real images in {self.output / FILE} for "
                "GENERATION.FILTER.REID.RULE percentile; run without --decide-only, with the "
                "model of GENERATION.FILTER.REID, or set RULE nearest or fixed"
            )
        thresholds = thresholds_of(self._filters, sources if self._needs_percentile else {})
        write_thresholds(self.output / THRESHOLDS, thresholds, sources)
        return thresholds

    @property
    def _needs_percentile(self) -> bool:
        return "reid" in self._filters.USE and self._filters.REID.RULE == "percentile"

    @functools.cached_property
    def _models(self) -> dict[str, FilterModel]:
        models = self._given | self._sources.models
        if "clip" in self._filters.USE:
            opener = functools.partial(open_clip_filter, self._cfg)
            models["clip"] = FilterModel(clip_source(self._cfg)[0], opener)
        return models

    def _record(self, name: str, rows: Sequence[Row]) -> IdentityRecord:
        """Read the record of an identity, or make it if it is missing or outdated."""
        known = read_record(self._record_file(name))
        if known is not None and known.fits(rows):
            return known
        with_file = [row for row in rows if has_file(row)]
        record = make_record(with_file, read_images([row.path for row in with_file]))
        write_record(self._record_file(name), record)
        return record

    def _record_file(self, name: str) -> Path:
        return self.output / "scored" / f"{name}.json"


def _rejected_unscored(row: Row, reason: str) -> GeneratedImage:
    if row.image.status == "failed":
        return row.image
    text = f"{OURS}failed: {reason}"
    return dataclasses.replace(row.image, status="rejected", reason=text)
