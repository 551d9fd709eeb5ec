"""The runs of an evaluation matrix: models x sources x settings x seeds; see :mod:`matrix`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import load_config

ALL = "all"  # the setting that takes the whole training set
# Training sets, test sets, KEY VALUE pairs that belong to them.
Combination = tuple[Sequence[str], Sequence[str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class MatrixRun:
    """One training and its tests.

    Attributes:
        config_file: recipe of the model; the file's name is the model's name in tables.
        sources: training sets, trained on together.
        targets: test sets, each evaluated by itself.
        setting: value of DATASETS.SUBSET, or "all".
        seed: seed of the training; the subset has a seed of its own, in its name.
        overrides: KEY VALUE pairs for training and testing.
    """

    config_file: Path
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    setting: str = ALL
    seed: int = 0
    overrides: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Name of the recipe."""
        return self.config_file.stem

    @property
    def source(self) -> str:
        """Names of the training sets, joined by "+"."""
        return "+".join(self.sources)

    def folder(self, output: Path) -> Path:
        """Folder of this run."""
        setting = Path(self.setting).name  # of a list file, which DATASETS.SUBSET takes too
        return output / "runs" / self.model / self.source / setting / f"seed{self.seed}"

    def configuration(self, output: Path) -> CfgNode:
        """Return the configuration of the training; nothing is tested while it runs.

        Raises:
            FileNotFoundError, ValueError: see :func:`fastreid_ext.config.load_config`.
        """
        changes = {
            "DATASETS.NAMES": self.sources,
            "DATASETS.TESTS": self.targets,
            "DATASETS.SUBSET": "" if self.setting == ALL else self.setting,
            "TEST.EVAL_PERIOD": 0,
            "SEED": self.seed,
            "OUTPUT_DIR": str(self.folder(output)),
        }
        pairs = [part for key, value in changes.items() for part in (key, value)]
        return load_config(self.config_file, [*self.overrides, *pairs])


def matrix_runs(
    config_files: Sequence[Path],
    combinations: Sequence[Combination],
    *,
    settings: Sequence[str] = (ALL,),
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
) -> list[MatrixRun]:
    """Return the runs of every model, combination of sources and targets, setting and seed.

    Seeds vary slowest, so that a matrix stopped early has whole tables of fewer seeds.

    Args:
        config_files: YAML files of the recipes.
        combinations: (sources, targets, KEY VALUE pairs), e.g. of ``data.protocols``.
        settings: "all" or values of DATASETS.SUBSET.
        seeds: seeds of the trainings.
        overrides: KEY VALUE pairs for all runs.

    Raises:
        ValueError: nothing to train or nothing to test on.
    """
    if not combinations or not all(sources and targets for sources, targets, _ in combinations):
        raise ValueError("expected training and test sets; give --sources and --targets")
    return [
        MatrixRun(file, tuple(sources), tuple(targets), setting, seed, (*overrides, *pairs))
        for seed in seeds
        for sources, targets, pairs in combinations
        for setting in settings
        for file in config_files
    ]


def own_runs(
    config_files: Sequence[Path],
    *,
    settings: Sequence[str] = (ALL,),
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
) -> list[MatrixRun]:
    """Return the runs of recipes that each have data sets, and keys, of their own.

    Recipes of one file name are one model, trained on several sources, e.g.
    ``Market1501/DCAC.yml`` and ``MSMT17/DCAC.yml``.

    Args:
        config_files: YAML files of the recipes, with ``DATASETS.NAMES`` and ``DATASETS.TESTS``.
        settings: "all" or values of DATASETS.SUBSET.
        seeds: seeds of the trainings, which vary slowest.
        overrides: KEY VALUE pairs for all runs.

    Raises:
        FileNotFoundError, ValueError: see :func:`fastreid_ext.config.load_config`.
    """
    sets = {file: load_config(file, list(overrides)).DATASETS for file in config_files}
    return [
        MatrixRun(file, tuple(own.NAMES), tuple(own.TESTS), setting, seed, tuple(overrides))
        for seed in seeds
        for setting in settings
        for file, own in sets.items()
    ]
