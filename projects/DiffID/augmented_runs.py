"""Re-ID trainings on real images, and on real and generated ones, by one recipe.

Every training has equally many iterations if the recipe has ``SOLVER.ITERS_PER_EPOCH``, so that
more images are not more training.
"""

import dataclasses
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import load_config
from fastreid_ext.data.own_sets import GENERATED
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import MatrixRun
from fastreid_ext.evaluation.matrix import Cell


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedRuns:
    """Runs of one recipe; a finished run is recognised by its files.

    Attributes:
        recipe: path of the YAML file of the Re-ID model on the real images.
        output: folder of the runs, one folder for each key.
        seeds: seeds of the trainings.
        overrides: KEY VALUE pairs of every run.
        keep_weights: whether checkpoints stay after the test.
    """

    recipe: Path
    output: Path
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    keep_weights: bool = False

    def configuration(self) -> CfgNode:
        """Read the recipe of the real images."""
        return load_config(self.recipe, list(self.overrides))

    def measure(self, key: str, generated: Path | None = None, images: int = 0) -> list[Cell]:
        """Train and test with each seed what is missing, and return all metrics.

        Args:
            key: name of the folder of these runs and of the model in their cells.
            generated: folder of the generated set that joins the real images; None for none.
            images: number of its images that are used, spread over identities; 0 for all.

        Returns:
            One cell for each seed and test set.
        """
        runs = self.runs(generated, images)
        report = run_matrix(runs, self.output / key, keep_weights=self.keep_weights)
        return [dataclasses.replace(cell, model=key) for cell in report.cells]

    def finished(self, key: str, generated: Path | None = None, images: int = 0) -> list[Cell]:
        """Return all metrics of the runs of a key that are finished, and train nothing."""
        runs = self.runs(generated, images)
        nothing = (len(runs), len(runs) + 1)  # a shard without runs
        report = run_matrix(runs, self.output / key, shard=nothing)
        return [dataclasses.replace(cell, model=key) for cell in report.cells]

    def runs(self, generated: Path | None, images: int) -> list[MatrixRun]:
        """Plan the run of each seed."""
        sets = self.configuration().DATASETS
        sources = tuple(sets.NAMES)
        added: tuple[str, ...] = ()
        if generated is not None:
            sources = (*sources, GENERATED)
            values = {"ROOTS": f"['{generated}']", "PERSON_IDS": "kept", "MAX_IMAGES": str(images)}
            pairs = ((f"DATASETS.GENERATED.{key}", value) for key, value in values.items())
            added = tuple(part for pair in pairs for part in pair)
        return [
            MatrixRun(
                self.recipe,
                sources,
                tuple(sets.TESTS),
                seed=seed,
                overrides=(*self.overrides, *added),
            )
            for seed in self.seeds
        ]

    def folder(self, key: str, generated: Path | None, images: int = 0) -> Path:
        """Folder of the first seed's run of a key."""
        return self.runs(generated, images)[0].folder(self.output / key)
