"""Features of the real images by every Re-ID model, on disk or computed when first needed.

The Re-ID filter compares generated images with the real images of their identity. A model "reid"
judges the identities of all data sets except those that have a model of their own, "reid/<data
set>". The threshold of RULE percentile also needs real images that a model was not trained on.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.reid import SourceFeatures
from fastreid_ext.generation.filters.scoring import FilterModel, Opener, is_reid, reid_name
from fastreid_ext.generation.filters.source_file import (
    RealImage,
    compute_source,
    read_source,
    real_images_of,
    source_file_name,
    source_fingerprint,
    unseen_real_images,
    write_source,
)


class SourceStore:
    """Features of the real images in DATASETS.NAMES by the Re-ID models.

    Args:
        cfg: configuration of the job; ``DATASETS`` is read.
        models: filter models by name, of which those named "reid" or "reid/<data set>" are used.
        folder: folder of the features' files.
        needs_unseen: whether real images that a model was not trained on are needed too.
    """

    def __init__(
        self,
        cfg: CfgNode,
        models: Mapping[str, FilterModel],
        folder: Path,
        *,
        needs_unseen: bool,
    ) -> None:
        self._cfg = cfg
        self._folder = folder
        self._needs_unseen = needs_unseen
        self._given = {name: model for name, model in models.items() if is_reid(name)}
        self._complete: set[str] = set()  # models whose files are known to be complete

    @property
    def used_models(self) -> list[str]:
        """Names of the models that judge at least one data set."""
        return [name for name, data_sets in self._data_sets.items() if data_sets]

    @functools.cached_property
    def models(self) -> dict[str, FilterModel]:
        """Models whose fingerprints also cover the names of their real images."""
        return {
            name: dataclasses.replace(
                model, fingerprint=source_fingerprint(model.fingerprint, self._real_images[name])
            )
            for name, model in self._given.items()
        }

    def is_complete(self, name: str) -> bool:
        """Check that the file of a model exists, with unseen images where they are needed."""
        if name not in self._complete:
            path = self._path(name)
            if not path.is_file() or (self._needs_unseen and self._lacks_unseen(name)):
                return False
            self._complete.add(name)
        return True

    def features(self, name: str, open_model: Opener) -> SourceFeatures:
        """Read the features by a model, or compute and write what is missing.

        Args:
            name: name of the model, "reid" or "reid/<data set>".
            open_model: function that loads the model; it is called only to compute features.

        Raises:
            ValueError: no real image can be read, or unseen images are needed and there are none.
        """
        path = self._path(name)
        model = self.models[name]
        source = None
        with contextlib.suppress(ValueError):  # damaged: computed again
            source = read_source(path)
        if source is None or source.fingerprint != model.fingerprint:
            source = compute_source(
                open_model(), self._real_images[name], model.fingerprint, model.trained_on
            )
            write_source(path, source)
        missing = self._without_unseen(name, source)
        if self._needs_unseen and missing:
            source = self._with_unseen(source, missing, model, open_model)
            write_source(path, source)
        return source

    @functools.cached_property
    def _data_sets(self) -> dict[str, list[str]]:
        """Data sets whose identities each model judges."""
        found: dict[str, list[str]] = {name: [] for name in self._given}
        for data_set in self._cfg.DATASETS.NAMES if found else ():
            name = reid_name(self._given, data_set)
            if name in found:
                found[name].append(data_set)
        return found

    @functools.cached_property
    def _real_images(self) -> dict[str, list[RealImage]]:
        """Real images of the identities that each model judges."""
        return {name: real_images_of(self._cfg, sets) for name, sets in self._data_sets.items()}

    def _path(self, name: str) -> Path:
        return self._folder / source_file_name(name)

    def _lacks_unseen(self, name: str) -> bool:
        try:
            source = read_source(self._path(name))
        except ValueError:
            source = None
        if source is None:
            return bool(self._data_sets[name])
        return bool(self._without_unseen(name, source))

    def _without_unseen(self, name: str, source: SourceFeatures) -> list[str]:
        """List the data sets of which a model has seen training images only."""
        return [s for s in self._data_sets[name] if source.unseen_similarities(s) is None]

    def _with_unseen(
        self,
        source: SourceFeatures,
        data_sets: Sequence[str],
        model: FilterModel,
        open_model: Opener,
    ) -> SourceFeatures:
        """Add similarities of test images, whose identities are not in the training split."""
        unseen = dict(source.unseen)
        for data_set in data_sets:
            if model.saw_tests:
                raise ValueError(
                    f"the Re-ID model was trained on the test images of {data_set} too "
                    "(DATASETS.COMBINEALL of its CONFIG_FILE), so no real images are left for "
                    "GENERATION.FILTER.REID.RULE percentile; set RULE nearest or fixed"
                )
            images = unseen_real_images(self._cfg, data_set)
            found = compute_source(open_model(), images, source.fingerprint)
            unseen[data_set] = found.real_similarities(data_set)
        return dataclasses.replace(source, unseen=unseen)
