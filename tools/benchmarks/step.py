"""Measure what our training step costs beside fastreid's, on the same model and batches.

    python tools/benchmarks/step.py
    python tools/benchmarks/step.py --config-file configs/Base-bagtricks.yml

Both steps run in turn, in this process, on the same random batches and on the same weights, so that
the load of the machine falls on both; the last line is the median of the ratios of neighbours.
Time is this process's CPU time, on CUDA wall time up to the end of the GPU's work.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

from fastreid_ext.config import load_config
from fastreid_ext.engine.step import TrainingStep, autocast_dtype

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tools
from command import add_pairs, parse_command

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo.yml"


def random_batches(cfg: CfgNode) -> Iterator[dict]:
    """Yield one random batch for ever, on the model's device: the loader is not measured."""
    count = cfg.SOLVER.IMS_PER_BATCH
    images = torch.rand((count, 3, *cfg.INPUT.SIZE_TRAIN), device=cfg.MODEL.DEVICE) * 255
    targets = torch.arange(count, device=cfg.MODEL.DEVICE) // cfg.DATALOADER.NUM_INSTANCE
    paths = [f"{index}.jpg" for index in range(count)]
    while True:
        yield {"images": images.clone(), "targets": targets, "camids": targets, "img_paths": paths}


def steps(cfg: CfgNode) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return fastreid's step and ours, which train one model with one optimizer."""
    model = build_model(cfg)
    optimizer, wrapper = build_optimizer(cfg, model)
    parts = (model, random_batches(cfg), optimizer, wrapper)
    theirs = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(*parts)
    theirs.iter = 0
    max_skipped = cfg.SOLVER.NON_FINITE.MAX_SKIPPED
    ours = TrainingStep(*parts, autocast_dtype=autocast_dtype(cfg), max_skipped=max_skipped)
    ours.start()
    return theirs.run_step, lambda: ours.run(0)


def seconds(run: Callable[[], object], is_cuda: bool) -> float:
    clock = time.perf_counter if is_cuda else time.process_time
    began = clock()
    run()
    if is_cuda:
        torch.cuda.synchronize()
    return clock() - began


def main(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    overrides = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.HEADS.NUM_CLASSES", "751"]
    overrides += ["MODEL.DEVICE", device, "SOLVER.AMP.ENABLED", str(device == "cuda")]
    cfg = load_config(args.config_file, [*overrides, *args.opts])
    pair = steps(cfg)
    is_cuda = cfg.MODEL.DEVICE.startswith("cuda")
    rounds = []
    with EventStorage():
        for number in range(args.warmup + args.rounds):
            # Alternate who goes first: the second finds warmer caches.
            order = (0, 1) if number % 2 else (1, 0)
            times = {which: seconds(pair[which], is_cuda) for which in order}
            rounds.append((times[0], times[1]))
    rounds = rounds[args.warmup :]
    theirs = statistics.median(host for host, _ in rounds)
    ours = statistics.median(own for _, own in rounds)
    ratios = sorted(own / host for host, own in rounds)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(
        f"fastreid {theirs * 1e3:.1f} ms, ours {ours * 1e3:.1f} ms per step; median ratio "
        f"{statistics.median(ratios):.3f} (quartiles {low:.3f} - {high:.3f}, {len(ratios)} rounds)"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--config-file", default=str(CONFIG), help="configuration of the model (default: the demo)"
    )
    parser.add_argument("--rounds", type=int, default=40, help="measured pairs of steps")
    parser.add_argument("--warmup", type=int, default=3, help="pairs before that")
    add_pairs(parser)
    return parse_command(parser)


if __name__ == "__main__":
    main(parse())
