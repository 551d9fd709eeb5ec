"""Train the same recipes with fastreid's own loop and with ours, and compare the final weights.

Three trainings of each recipe (``configs/miniature``), of which each runs in a process of its own:

``as it is``    fastreid's ``DefaultTrainer``, with its own loader, sampler, augmentation, solver,
                model and evaluator, repaired only so far that it starts (``MADE_TO_RUN``).
``fastreid``    the same with the one repair that makes it learn (``MADE_TO_LEARN``).
``ours``        ``fastreid_ext.engine.train``, the trainer behind ``tools/train_net.py``.

The first two never import ``fastreid_ext`` itself, which would repair far more: single functions of
``fastreid_ext.compat`` are loaded without the package around them. All final weights are evaluated
by the same code, ours. What differs between the sides therefore happens in training.

    python tools/benchmarks/parity.py                # continues where an earlier call was stopped
    python tools/benchmarks/parity.py --table-only   # writes the document's table again
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[2]
# The package of this checkout, where another one is installed: it evaluates, and names its commit.
sys.path.insert(0, str(REPOSITORY))
DOMAIN = "RenderedCampus"

# Functions of fastreid_ext.compat. The first three repair imports, the fourth the loader without a
# GPU, the fifth an evaluation that would end the process where no C compiler is.
MADE_TO_RUN = (
    "provide_torchvision_ops",
    "provide_torch_six",
    "provide_collections_mapping",
    "load_without_cuda",
    "evaluate_without_compiler",
)
MADE_TO_LEARN = ("keep_flat_gradients",)
REPAIRS = {"as it is": MADE_TO_RUN, "fastreid": (*MADE_TO_RUN, *MADE_TO_LEARN)}

# Epochs of each recipe; those of AGW.yml are for another experiment.
EPOCHS = {"BoT": 15, "AGW": 15, "SBS": 15, "MGN": 8}
UNTRAINED_CELL = ("as it is", "BoT")  # with the first seed only: one run shows it

Content = dict[str, Any]


def train_with_fastreid(settings: Content, side: str) -> Content:
    """Train with fastreid's own trainer.

    Args:
        settings: full configuration of the run; fastreid gets the keys that it knows.
        side: side of the comparison, a key of ``REPAIRS``.

    Returns:
        Measurements of the training, see :func:`measured`.
    """
    os.environ["FASTREID_DATASETS"] = settings["DATASETS"]["ROOT"]  # read at the first import
    compat = _compat_alone()
    for name in REPAIRS[side]:
        getattr(compat, name)()

    from fastreid.config import CfgNode, get_cfg
    from fastreid.engine import DefaultTrainer, default_setup
    from fastreid.utils.env import seed_all_rng

    _register_rendered_campus()
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode(_known_to(cfg, settings)))
    default_setup(cfg, argparse.Namespace(eval_only=False, config_file=""))
    seed_all_rng(settings["SEED"])  # fastreid has no key for a seed
    trainer = DefaultTrainer(cfg)
    return measured(trainer, trainer.train)


def train_with_ours(settings: Content, folder: Path) -> Content:
    """Train with our trainer; the full configuration is kept in ``folder`` too."""
    from fastreid_ext.config import load_config
    from fastreid_ext.engine import Trainer, train

    measurements: Content = {}

    class Measured(Trainer):
        def train(self) -> Any:
            measurements.update(measured(self, super().train))
            return self._last_eval_results

    path = folder / "settings.yaml"
    path.write_text(json.dumps(settings))  # YAML contains JSON
    train(load_config(path), kind=Measured)
    return measurements


def measured(trainer: Any, train: Any) -> Content:
    """Train, and measure what changed.

    Args:
        trainer: fastreid's trainer or ours, ready to train.
        train: its method that trains and returns the results of the last evaluation.

    Returns:
        Seconds of processor time, the trained parameter tensors and how many of them changed, a
        digest of the initial weights, and Rank-1 and mAP of the side's own evaluation in percent.
    """
    before = {name: value.detach().clone() for name, value in _trained(trainer.model)}
    began = time.process_time()
    results = train()
    seconds = time.process_time() - began
    changed = [name for name, value in _trained(trainer.model) if not value.equal(before[name])]
    digest = hashlib.sha256()
    for value in before.values():
        digest.update(value.numpy().tobytes())
    return {
        "processor_seconds": round(seconds, 1),
        "parameter_tensors": len(before),
        "changed_tensors": len(changed),
        "initial_weights": digest.hexdigest(),
        "own_evaluation": {key: float(results[key]) for key in ("Rank-1", "mAP")},
    }


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _compat_alone() -> types.ModuleType:
    """Import ``fastreid_ext.compat`` without ``fastreid_ext/__init__.py``, which repairs all."""
    package = types.ModuleType("fastreid_ext")
    package.__path__ = [str(REPOSITORY / "fastreid_ext")]
    sys.modules["fastreid_ext"] = package
    from fastreid_ext import compat

    return compat


def _known_to(host: Content, settings: Content) -> Content:
    """Return the settings whose keys are fastreid's."""
    known = {key: value for key, value in settings.items() if key in host}
    return {
        key: _known_to(host[key], value) if isinstance(value, dict) else value
        for key, value in known.items()
    }


def _register_rendered_campus() -> None:
    """Register the rendered persons with fastreid as it reads Market-1501, in sorted order."""
    from fastreid.data.datasets import DATASET_REGISTRY
    from fastreid.data.datasets.bases import ImageDataset

    def read(folder: Path) -> list[tuple[str, int, int]]:
        paths = sorted(folder.glob("*.jpg"))
        words = [path.name.split("_") for path in paths]
        cameras = [int(word[1].partition("s")[0][1:]) - 1 for word in words]
        people = [int(word[0]) for word in words]
        return list(zip(map(str, paths), people, cameras, strict=True))

    class RenderedCampus(ImageDataset):
        def __init__(self, root: str, **kwargs: Any) -> None:
            folder = Path(root) / DOMAIN
            train = [
                (path, f"{DOMAIN}_{pid}", f"{DOMAIN}_{camera}")
                for path, pid, camera in read(folder / "bounding_box_train")
            ]
            query = read(folder / "query")
            super().__init__(train, query, read(folder / "bounding_box_test"), **kwargs)

    DATASET_REGISTRY.register(RenderedCampus)


def settings_of(recipe: str, seed: int, folder: Path, overrides: list[str]) -> Content:
    """Return the full configuration of a recipe, filled in and checked, as plain values."""
    from fastreid_ext.config import load_config
    from fastreid_ext.engine.results import plain

    keys = ["SOLVER.MAX_EPOCH", EPOCHS[recipe], *overrides, "SEED", seed]
    path = REPOSITORY / "configs" / "miniature" / f"{recipe}.yml"
    cfg = load_config(path, [*keys, "OUTPUT_DIR", str(folder)])
    return json.loads(json.dumps(plain(cfg)))


def finished_cell(folder: Path, settings: Content) -> Content | None:
    """Read a cell that an earlier call has finished; None if there is none.

    Raises:
        ValueError: the cell was trained with other settings.
    """
    path = folder / "cell.json"
    if not path.exists():
        return None
    cell = json.loads(path.read_text())
    if cell["settings"] != settings:
        raise ValueError(
            f"expected {path} to be of the present settings, got a cell of others; remove "
            f"{folder}, or give another folder in --runs"
        )
    return cell


def make_cell(side: str, settings: Content, folder: Path) -> Content:
    """Train a cell in a process of its own, evaluate its final weights, and keep it on disk.

    Raises:
        RuntimeError: the training failed; its output is in ``console.log``.
    """
    from fastreid_ext.atomic import atomic_write_text
    from fastreid_ext.engine.results import commit, versions

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.json").write_text(json.dumps({"side": side, "settings": settings}))
    command = [sys.executable, __file__, "--train", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with open(folder / "console.log", "w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"the training of {folder} failed; see {folder}/console.log")
    cell = {
        "percent": evaluated(settings, folder / "model_final.pth"),
        **json.loads((folder / "training.json").read_text()),
        "commit": commit(),
        "versions": versions(),
        "settings": settings,
    }
    atomic_write_text(folder / "cell.json", json.dumps(cell, indent=2) + "\n")
    return cell


def evaluated(settings: Content, weights: Path) -> dict[str, float]:
    """Return our evaluation of final weights on the test set: Rank-1, mAP, ... in percent."""
    from fastreid.config import get_cfg

    from fastreid_ext.data.build import build_test_loader
    from fastreid_ext.engine import load_model
    from fastreid_ext.evaluation.features import extract_features

    cfg = get_cfg()
    cfg.merge_from_other_cfg(type(cfg)(settings))
    loader, num_query = build_test_loader(cfg, DOMAIN)
    return extract_features(load_model(cfg, weights), loader, num_query).metrics().percentages()


def baselines(settings: Content) -> dict[str, dict[str, float]]:
    """Rank the test set by colour histograms and at random; metrics in percent."""
    from fastreid.config import get_cfg

    from fastreid_ext.data.configured_sets import query_and_gallery
    from fastreid_ext.evaluation.baselines import chance, colour_histograms
    from fastreid_ext.evaluation.features import TestFeatures

    cfg = get_cfg()
    cfg.merge_from_other_cfg(type(cfg)(settings))
    items, num_query = query_and_gallery(cfg, DOMAIN)
    paths, pids, cameras = zip(*items, strict=True)
    features = torch.from_numpy(colour_histograms(paths))
    test = TestFeatures(features, np.array(pids), np.array(cameras), list(paths), num_query)
    metrics = {"colour histogram": test.metrics(), "chance": chance(*test.labels())}
    return {name: values.percentages() for name, values in metrics.items()}


def compare(args: argparse.Namespace) -> Content:
    """Make all cells that are not there yet; write the JSON file after each.

    Returns:
        The content of the JSON file: cells by recipe, side and seed, and the two baselines.
    """
    from fastreid_ext.atomic import atomic_write_text

    tasks = [(*UNTRAINED_CELL, args.seeds[0])]
    for recipe, seed, side in itertools.product(args.recipes, args.seeds, ("fastreid", "ours")):
        tasks.append((side, recipe, seed))
    content: Content = {"repairs": {side: list(names) for side, names in REPAIRS.items()}}
    content["cells"] = _cells_of_others(args.output, tasks)
    for number, (side, recipe, seed) in enumerate(tasks, 1):
        folder = args.runs / f"{recipe}_{side.replace(' ', '_')}_seed{seed}"
        settings = settings_of(recipe, seed, folder, args.opts)
        content.setdefault("baselines", baselines(settings))
        cell = finished_cell(folder, settings) or make_cell(side, settings, folder)
        figures = {key: value for key, value in cell.items() if key != "settings"}
        content["cells"].append({"recipe": recipe, "side": side, "seed": seed, **figures})
        atomic_write_text(args.output, json.dumps(content, indent=1) + "\n")
        scores = "Rank-1 {Rank-1:.1f}, mAP {mAP:.1f}".format(**cell["percent"])
        print(f"{number} of {len(tasks)}: {recipe}, {side}, seed {seed}: {scores}", flush=True)
    return content


def _cells_of_others(output: Path, tasks: Sequence[tuple[str, str, int]]) -> list[Content]:
    """Read the cells of the JSON file that this call does not make."""
    if not output.exists():
        return []
    cells = json.loads(output.read_text())["cells"]
    return [cell for cell in cells if (cell["side"], cell["recipe"], cell["seed"]) not in tasks]


def train_one(folder: Path) -> None:
    """Train the cell that ``task.json`` of a folder describes, and write ``training.json``."""
    task = json.loads((folder / "task.json").read_text())
    side = task["side"]
    settings = task["settings"]
    if side in REPAIRS:
        measurements = train_with_fastreid(settings, side)
    else:
        measurements = train_with_ours(settings, folder)
    (folder / "training.json").write_text(json.dumps(measurements))


def main(args: argparse.Namespace) -> None:
    if args.train:
        train_one(args.train)
        return
    # Only here: a training by fastreid may not import fastreid_ext.
    from measuring.parity_table import table_of, write_table

    content = json.loads(args.output.read_text()) if args.table_only else compare(args)
    table = table_of(content)
    write_table(args.document, table)
    print(f"{table}\n\nThe table is in {args.document}, every cell in {args.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("logs/parity"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("docs/parity.json"))
    parser.add_argument("--document", type=Path, default=Path("docs/parity.md"))
    parser.add_argument("--table-only", action="store_true", help="from --output; train nothing")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--opts", nargs="*", default=[], help="KEY VALUE pairs for all trainings")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse())
