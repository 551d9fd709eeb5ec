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
from fastreid_ext.generation.filters.scoring import (
    FilterModel,
    Opener,
    Scoring,
    is_reid,
    is_scored,
    models_for,
    reid_name,
)
from fastreid_ext.generation.filters.source_file import (
    FILE,
    Photograph,
    compute_source,
    photographs_of,
    read_source,
    read_sources,
    source_fingerprint,
    source_name,
    unseen_photographs,
    write_source,
)
from fastreid_ext.generation.filters.thresholds import Thresholds, thresholds_of, write_thresholds
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import GeneratedImage, Row, read_identity, write_identity

THRESHOLDS = "thresholds.json"


class FilterRun:
    """The filters of a configuration on one generated set.

    Args:
        cfg: says which filters, thresholds, device, and where the photographs are.
        models: "reid" and "cctf", as far as there are, to fingerprint and opener, as
            ``fastreid_ext.deploy.filter_models`` gives them, with what :class:`FilterModel` has
            beside. A Re-ID model maps images to features (N, D), a classifier to probabilities
            (N, C) and has ``persons``, C names. "reid/<data set>" is the model of one data set.
        images: the generated set; None: that of the job in OUTPUT_DIR.
        output: folder of the filters' files; None: that of the job.
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
        self._filters, self._cfg = cfg.GENERATION.FILTER, cfg
        self._given = {name: FilterModel(*given) for name, given in models.items()}
        self._complete: set[str] = set()  # Re-ID models whose files are known to be there

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
        if not all(self._has_source(model) for model in self._reid_models):
            return False
        data_set = rows[0].image.source_dataset if rows else ""
        models = models_for(self._models, data_set)
        return is_scored(rows, read_record(self._record(name)), models)

    def open_work(self) -> Scoring:
        """Return what scores identities, for ``run_stage``."""
        names = self._cfg.DATASETS.NAMES
        work = Scoring(self.images, self.output / "scored", self._models, self._source, names)
        for model in self._reid_models:
            work.source(model)  # thresholds need it, even if all drawings have their scores
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
        sources = read_sources(self.output)
        if self._needs_percentile and not sources:
            raise FileNotFoundError(
                f"expected the similarities of the photographs in {self.output / FILE} for "
                "GENERATION.FILTER.REID.RULE percentile; run without --decide-only, with the "
                "model of GENERATION.FILTER.REID, or set RULE nearest or fixed"
            )
        thresholds = thresholds_of(self._filters, sources if self._needs_percentile else {})
        write_thresholds(self.output / THRESHOLDS, thresholds, sources)
        return thresholds

    def photographs(self) -> dict[Person, list[Path]]:
        """Return the files of each person's photographs, {} if the data sets are not there."""
        files: dict[Person, list[Path]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            for person, file in photographs_of(self._cfg, self._cfg.DATASETS.NAMES):
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

    @property
    def _needs_percentile(self) -> bool:
        return "reid" in self._filters.USE and self._filters.REID.RULE == "percentile"

    @functools.cached_property
    def _models(self) -> dict[str, FilterModel]:
        models = dict(self._given)
        for name in filter(is_reid, self._given):
            print_of_all = source_fingerprint(models[name].fingerprint, self._photographs[name])
            models[name] = dataclasses.replace(models[name], fingerprint=print_of_all)
        if "clip" in self._filters.USE:
            opener = functools.partial(open_clip_filter, self._cfg)
            models["clip"] = FilterModel(clip_source(self._cfg)[0], opener)
        return models

    @property
    def _reid_models(self) -> list[str]:
        """Names of the Re-ID models that judge somebody."""
        return [name for name, sets in self._data_sets.items() if sets]

    @functools.cached_property
    def _data_sets(self) -> dict[str, list[str]]:
        """Re-ID model to the data sets whose persons it judges."""
        found: dict[str, list[str]] = {name: [] for name in filter(is_reid, self._given)}
        for data_set in self._cfg.DATASETS.NAMES if found else ():
            name = reid_name(self._given, data_set)
            if name in found:
                found[name].append(data_set)
        return found

    @functools.cached_property
    def _photographs(self) -> dict[str, list[Photograph]]:
        """Re-ID model to the photographs of its persons."""
        return {name: photographs_of(self._cfg, sets) for name, sets in self._data_sets.items()}

    def _has_source(self, model: str) -> bool:
        """Whether the file of a Re-ID model's photographs is there, with what thresholds need."""
        if model not in self._complete:
            path = self.output / source_name(model)
            if not path.is_file() or (self._needs_percentile and self._lacking(model)):
                return False
            self._complete.add(model)
        return True

    def _lacking(self, model: str) -> list[str]:
        """Return the data sets of which a model has seen only its training photographs."""
        try:
            source = read_source(self.output / source_name(model))
        except ValueError:
            source = None
        sets = self._data_sets[model]
        return (
            sets if source is None else [s for s in sets if source.unseen_similarities(s) is None]
        )

    def _source(self, name: str, open_model: Opener) -> SourceFeatures:
        """Return the photographs' features by a Re-ID model, computed unless they are there."""
        path, model = self.output / source_name(name), self._models[name]
        source = None
        with contextlib.suppress(ValueError):  # damaged: computed again
            source = read_source(path)
        if source is None or source.fingerprint != model.fingerprint:
            source = compute_source(
                open_model(), self._photographs[name], model.fingerprint, model.trained_on
            )
            write_source(path, source)
        missing = [s for s in self._data_sets[name] if source.unseen_similarities(s) is None]
        if self._needs_percentile and missing:
            source = self._with_unseen(source, missing, model, open_model)
            write_source(path, source)
        return source

    def _with_unseen(
        self,
        source: SourceFeatures,
        data_sets: Sequence[str],
        model: FilterModel,
        open_model: Opener,
    ) -> SourceFeatures:
        """Add similarities of test photographs; their persons are none of the training split."""
        unseen = dict(source.unseen)
        for data_set in data_sets:
            if model.saw_tests:
                raise ValueError(
                    f"the Re-ID model was trained on the test images of {data_set} too "
                    "(DATASETS.COMBINEALL of its CONFIG_FILE), so no photographs are left for "
                    "GENERATION.FILTER.REID.RULE percentile; set RULE nearest or fixed"
                )
            photographs = unseen_photographs(self._cfg, data_set)
            found = compute_source(open_model(), photographs, source.fingerprint)
            unseen[data_set] = found.real_similarities(data_set)
        return dataclasses.replace(source, unseen=unseen)


def _set_aside(row: Row, reason: str) -> GeneratedImage:
    if row.image.status == "failed":
        return row.image
    words = f"{OURS}failed: {reason}"
    return dataclasses.replace(row.image, status="rejected", reason=words)
