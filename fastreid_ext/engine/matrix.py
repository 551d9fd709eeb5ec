"""Train and evaluate every combination of models, sources, settings and seeds, and resume that.

One run = one model trained on one combination, in a folder of its own:
``<output>/runs/<model>/<sources>/<setting>/seed<k>/``. Its tests lie below it, one folder a test
set, so that a test set added later costs an evaluation, not a training. What is finished is seen
by its files; a run that was killed continues from its checkpoint. The final weights are tested,
never the best ones: those would be chosen on the test set.
"""

import contextlib
import dataclasses
import gc
import json
import logging
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastreid.config import CfgNode
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.engine.changed_keys import changed_keys
from fastreid_ext.engine.checkpoint import TAG, TRAINING_SUFFIX
from fastreid_ext.engine.matrix_plan import MatrixRun
from fastreid_ext.engine.results import EVALUATION_FILE, RESULT_FILE
from fastreid_ext.engine.run import evaluate, train
from fastreid_ext.evaluation.matrix import Cell, averaged_splits, averaged_trials
from fastreid_ext.saved_settings import expect_same

_WEIGHTS = "model_final.pth"
_ERROR_FILE = "error.txt"
# Where a run lies, what it is tested on, and keys that training does not read.
_WITHOUT_EFFECT = ("OUTPUT_DIR", "DATASETS.TESTS", "GENERATION.")


@dataclasses.dataclass(frozen=True)
class MatrixReport:
    """Results of a matrix of runs, with the failed and the pending ones.

    Attributes:
        cells: metrics of each run and test set, in the order of the runs.
        failed: folder of each failed run, with its error.
        unfinished: runs that another shard has not finished yet.
    """

    cells: list[Cell]
    failed: list[tuple[Path, str]]
    unfinished: int


def run_matrix(
    runs: Sequence[MatrixRun],
    output: Path,
    *,
    continue_on_error: bool = False,
    keep_weights: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> MatrixReport:
    """Do what is not done yet and return everything that is.

    Example::

        pairs = [(["RenderedCampus"], ["RenderedMall"], [])]  # sources, targets, KEY VALUE
        runs = matrix_runs([Path("configs/demo.yml")], pairs, seeds=(0, 1, 2))
        report = run_matrix(runs, Path("logs/matrix"))

    Args:
        runs: runs to do, each of a folder of its own.
        output: folder that holds all runs.
        continue_on_error: note the error of a run and go on with the next.
        keep_weights: False removes the checkpoints of a run once it is tested.
        shard: (index, count): do only every count-th run, from index on; other processes or
            machines do the others.

    Raises:
        ValueError: two runs share a folder, or a folder holds a run of another configuration.
        Exception: the error of a run, unless ``continue_on_error``.
    """
    folders = [run.folder(output) for run in runs]
    if len(set(folders)) != len(folders):
        twice = next(folder for folder in folders if folders.count(folder) > 1)
        raise ValueError(
            f"expected runs of different folders, got two in {twice}; name each setting, seed and "
            "set once, and give configurations different file names"
        )
    for run in runs:  # all mistakes before any work
        _expect_same_configuration(run.configuration(output), run.folder(output))
    index, count = shard
    failed: list[tuple[Path, str]] = []
    mine = [run for run in runs[index::count] if _measured(run, output) is None]
    progress = tqdm(mine, unit="run", dynamic_ncols=True)
    for run in progress:
        progress.set_postfix_str(f"{run.model} {run.source} {run.setting} seed {run.seed}")
        error = _finish(run, output, continue_on_error, keep_weights)
        if error:
            failed.append((run.folder(output), error))
    finished = [(run, _measured(run, output)) for run in runs]
    cells = [cell for run, metrics in finished if metrics for cell in _cells(run, metrics)]
    done = sum(metrics is not None for _, metrics in finished)
    return MatrixReport(averaged_trials(cells), failed, len(runs) - done - len(failed))


def _finish(run: MatrixRun, output: Path, continue_on_error: bool, keep_weights: bool) -> str:
    """Train and test what is missing; return the error, "" if there is none."""
    folder = run.folder(output)
    (folder / _ERROR_FILE).unlink(missing_ok=True)
    try:
        with _quiet_console():
            _train_and_test(run, output)
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / _ERROR_FILE, traceback.format_exc())
        if not continue_on_error:
            raise
        return f"{type(error).__name__}: {error}"
    finally:
        gc.collect()  # a trainer and its hooks know each other, so a model stays until this
    if not keep_weights:
        weights = (*folder.glob("*.pth"), *folder.glob(f"*{TRAINING_SUFFIX}"))
        for path in (*weights, folder / TAG):
            path.unlink(missing_ok=True)
    return ""


def _train_and_test(run: MatrixRun, output: Path) -> None:
    cfg = run.configuration(output)
    folder = run.folder(output)
    if not (folder / _WEIGHTS).is_file() or not (folder / RESULT_FILE).is_file():
        train(cfg, resume=(folder / "last_checkpoint").is_file())
    for target in run.targets:
        tested = _test_folder(folder, target)
        if (tested / EVALUATION_FILE).is_file():
            continue
        shutil.rmtree(tested, ignore_errors=True)  # what an interrupted test left
        one = cfg.clone()
        one.defrost()
        one.DATASETS.TESTS = (target,)
        one.MODEL.WEIGHTS = str(folder / _WEIGHTS)
        one.OUTPUT_DIR = str(tested)
        one.freeze()
        evaluate(one)


def _test_folder(folder: Path, target: str) -> Path:
    return folder / "tests" / target


def _measured(run: MatrixRun, output: Path) -> dict[str, dict[str, float]] | None:
    """Return the metrics by test set of a finished run, None if something is missing."""
    metrics = {}
    for target in run.targets:
        path = _test_folder(run.folder(output), target) / EVALUATION_FILE
        if not path.is_file():
            return None
        metrics[target] = json.loads(path.read_text())["metrics"][target]
    return metrics


def _cells(run: MatrixRun, metrics: dict[str, dict[str, float]]) -> list[Cell]:
    return [
        Cell(run.model, run.source, run.setting, target, run.seed, values)
        for target, values in averaged_splits(metrics).items()
    ]


def _expect_same_configuration(cfg: CfgNode, folder: Path) -> None:
    """Refuse to mix runs: a finished training must be of the configuration asked for."""
    if not (folder / RESULT_FILE).is_file():
        return
    before = json.loads((folder / RESULT_FILE).read_text())["config"]
    changes = changed_keys(before, cfg)
    differing = [change for change in changes if not change.is_in(_WITHOUT_EFFECT)]
    expect_same(
        {change.key: repr(change.before) for change in differing},
        {change.key: repr(change.now) for change in differing},
        found=f"{folder} holds a run of another configuration",
        advice="give another --output, or remove the folder to train again",
    )


@contextlib.contextmanager
def _quiet_console() -> Iterator[None]:
    """Keep the logs of the runs off the console, where the progress is; ``log.txt`` has them."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            yield
        finally:
            for name in ("fastreid", "fastreid_ext"):
                logging.getLogger(name).handlers.clear()  # they write to the file closed now
