"""Measure whether feature extraction waits for its loader.

    python tools/benchmarks/extraction.py --config-file configs/demo.yml DATASETS.ROOT demo/datasets
    python tools/benchmarks/extraction.py --config-file ... --workers 1 2 4 8 16

Images per second (wall time) of the model alone, on one batch that is already there, and for each
number of workers of the loader alone and of both together. Extraction is loader-bound while the
loader alone is slower than the model alone: raise TEST.NUM_WORKERS until it is not, as far as there
are processor cores. Weights do not matter: the model has random ones.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.data.loaders import PersonLoader
from fastreid_ext.evaluation.features import extract_features

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tools
from command import add_pairs, parse_command


def rate(run: Callable[[], object], images: int) -> float:
    """Return images per second of wall time, up to the end of the GPU's work."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (time.perf_counter() - began)


def test_loader(cfg: CfgNode, workers: int) -> PersonLoader:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.NUM_WORKERS = workers
    return build_test_loader(cfg, cfg.DATASETS.TESTS[0])[0]


def consume(loader: PersonLoader, count: int) -> None:
    for _ in itertools.islice(loader, count):
        pass


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, ["MODEL.BACKBONE.PRETRAIN", "False", *args.opts])
    model = build_model(cfg).eval()
    loader = test_loader(cfg, 0)
    batch = next(iter(loader))
    size = len(batch["targets"])
    count = min(args.batches, len(loader))
    images = min(count * size, len(loader.dataset))

    def compute() -> None:
        extract_features(model, itertools.repeat(batch, count), num_query=0)

    compute()  # warms up
    alone = rate(compute, count * size)
    rows = []
    for workers in args.workers:
        loading = rate(lambda w=workers: consume(test_loader(cfg, w), count), images)
        both = rate(
            lambda w=workers: extract_features(
                model, itertools.islice(test_loader(cfg, w), count), num_query=0
            ),
            images,
        )
        rows.append([workers, loading, alone, both, "loader" if loading < alone else "model"])
    print(f"images per second of {images} images, batch {size}, {cfg.MODEL.DEVICE}")
    print(tabulate(rows, ["workers", "loader", "model", "together", "slower"], floatfmt=".0f"))
    best = max(rows, key=lambda row: row[3])
    print(
        f"together at most {best[3]:.0f} images/s with TEST.NUM_WORKERS {best[0]}, "
        f"{100 * best[3] / alone:.0f} % of the model alone; this machine has {os.cpu_count()} cores"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="to compare")
    parser.add_argument("--batches", type=int, default=20, help="measured at most")
    add_pairs(parser)
    return parse_command(parser)


if __name__ == "__main__":
    with short_errors():
        main(parse())
