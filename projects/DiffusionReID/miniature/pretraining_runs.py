"""Pre-train on a set, fine-tune on few real images, test: one link of a comparison of starts.

Every set gives equally many steps, so that a larger one is not trained on for longer.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.config import load_config
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import ALL, MatrixRun

Metrics = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Start:
    """Set that a backbone is pre-trained on.

    Attributes:
        recipe: path of the YAML file of the pre-training.
        sources: training data sets, as in DATASETS.NAMES.
        setting: part of each of them, as in DATASETS.SUBSET, or "all".
        overrides: KEY VALUE pairs, for example DATASETS.GENERATED.ROOTS.
    """

    recipe: Path
    sources: tuple[str, ...]
    setting: str = ALL
    overrides: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Result of a pre-training.

    Attributes:
        weights: path of the trained checkpoint.
        images: number of images it was trained on.
        persons: number of identities on them.
        metrics: percentages of the model as it is, without fine-tuning.
    """

    weights: Path
    images: int
    persons: int
    metrics: Metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingRuns:
    """The runs of one seed; a run that is finished is seen by its files.

    Attributes:
        output: folder of the runs, one folder for each key of :meth:`run`.
        persons: data set to fine-tune and to test on.
        setting: part of it to fine-tune on, as in DATASETS.SUBSET.
        seed: value of SEED in every run.
        overrides: KEY VALUE pairs of every run.
    """

    output: Path
    persons: str
    setting: str
    seed: int
    overrides: tuple[str, ...] = ()

    def pretrain(self, key: str, start: Start, steps: int) -> Pretrained:
        """Pre-train for about so many steps, at least two epochs."""
        subset = "" if start.setting == ALL else start.setting
        given = [*self.overrides, *start.overrides, "DATASETS.NAMES", start.sources]
        cfg = load_config(start.recipe, [*given, "DATASETS.SUBSET", subset])
        items = training_items(cfg).items
        epochs = max(round(steps / max(len(items) // cfg.SOLVER.IMS_PER_BATCH, 1)), 2)
        longer = (*start.overrides, "SOLVER.MAX_EPOCH", str(epochs))
        folder, metrics = self._run(key, start.recipe, start.sources, start.setting, longer)
        persons = len({person for _, person, _ in items})
        return Pretrained(folder / "model_final.pth", len(items), persons, metrics)

    def tune(self, key: str, recipe: Path, weights: Path | None) -> Metrics:
        """Fine-tune from a checkpoint, or from random weights; return the percentages."""
        start: tuple[str, ...] = ("MODEL.BACKBONE.PRETRAIN", str(weights is not None))
        if weights is not None:
            start += ("MODEL.BACKBONE.PRETRAIN_PATH", str(weights))
        return self._run(key, recipe, (self.persons,), self.setting, start)[1]

    def train(self, key: str, recipe: Path) -> Path:
        """Train another model on the same real images, and name the folder of its run."""
        return self._run(key, recipe, (self.persons,), self.setting, ())[0]

    def _run(
        self,
        key: str,
        recipe: Path,
        sources: tuple[str, ...],
        setting: str,
        changes: Sequence[str],
    ) -> tuple[Path, Metrics]:
        overrides = (*self.overrides, *changes)
        run = MatrixRun(recipe, sources, (self.persons,), setting, self.seed, overrides)
        (cell,) = run_matrix([run], self.output / key).cells
        return run.folder(self.output / key), dict(cell.metrics)
