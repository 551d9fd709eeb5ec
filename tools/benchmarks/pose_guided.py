"""Measure a training step and sampling of the pose-guided generator, and the share of each part.

    python tools/benchmarks/pose_guided.py    # Stable Diffusion 1.5's sizes on a GPU
    python tools/benchmarks/pose_guided.py --device cpu --size miniature --dtype float32

Weights, images and condition maps are random. A training step is that of tools/pose_persons.py
train on encoded images: forward and backward pass of the three trained parts, with a reference in
every row, then clipping, AdamW and the average of weights; weights are in float32, arithmetic in
--dtype. Sampling makes --images images of one identity from one reference image, from pixels to
pixels: with the reference read once ("cached") and read for each image ("uncached"), in turns, and
compares the images; the exit code is 1 if they differ. Shares are of a run with a clock at each
part. On the CPU seconds are those of the process, and memory is the most that the process took
since its start; on CUDA it is what torch's allocator holds.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from measuring.pose_generator import SIZES, random_generator
from measuring.pose_sampling import CACHED, UNCACHED, SamplingFigures, measure_sampling
from measuring.pose_training import TrainingFigures, measure_training

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tools
from command import count, parse_command, tool_parser

# At Stable Diffusion 1.5's sizes on an H200: memory of a step with 4 rows, images per second with
# 20 steps and guidance.
GOAL_BYTES = 48e9
GOAL_IMAGES_PER_SECOND = 4.0


def verdicts(training: TrainingFigures | None, sampling: SamplingFigures | None) -> dict[str, str]:
    """Return in words whether the goals are reached."""
    found = {}
    if training:
        holds = training.peak_bytes <= GOAL_BYTES
        found["memory of a step"] = (
            f"{training.peak_bytes / 1e9:.1f} GB, goal at most {GOAL_BYTES / 1e9:.0f}: "
            f"{'holds' if holds else 'missed'}"
        )
    if sampling:
        speed = sampling.images_per_second
        found["images/s"] = (
            f"{speed:.2f}, goal at least {GOAL_IMAGES_PER_SECOND:g}: "
            f"{'holds' if speed >= GOAL_IMAGES_PER_SECOND else 'missed'}"
        )
    return found


def figures(
    training: TrainingFigures | None, sampling: SamplingFigures | None
) -> dict[str, float | bool]:
    """Return the measured values by name."""
    found: dict[str, float | bool] = {}
    if training:
        found["seconds of a step"] = training.seconds
        found["GB of a step"] = training.peak_bytes / 1e9
        found |= {f"share of a step, {name}": share for name, share in training.shares.items()}
    if sampling:
        found["images/s"] = sampling.images_per_second
        found["uncached / cached"] = sampling.seconds[UNCACHED] / sampling.seconds[CACHED]
        found["cached images are equal"] = sampling.is_equal
        shares = sampling.shares[CACHED]
        found |= {f"share of sampling, {name}": share for name, share in shares.items()}
    return found


def as_table(training: TrainingFigures | None, sampling: SamplingFigures | None) -> str:
    """Return the shares of the parts as a Markdown table."""
    columns = {}
    if training:
        columns["training step"] = training.shares
    if sampling:
        columns |= {f"sampling, {name}": shares for name, shares in sampling.shares.items()}
    names = [name for shares in columns.values() for name in shares if name != "rest"]
    rows = [
        [name, *(_percent(shares.get(name)) for shares in columns.values())]
        for name in [*dict.fromkeys(names), "rest"]
    ]
    return tabulate(rows, ["part", *columns], tablefmt="github", disable_numparse=True)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _train(args: argparse.Namespace) -> TrainingFigures:
    pipeline = random_generator(args.size, torch.device(args.device))
    found = measure_training(
        pipeline,
        args.pixels,
        rows=args.batch,
        rounds=args.rounds,
        dtype=getattr(torch, args.dtype),
        checkpointing=args.checkpointing,
    )
    print(
        f"training step of {found.rows} images: {found.seconds:.3f} s, peak "
        f"{found.peak_bytes / 1e9:.2f} GB",
        flush=True,
    )
    return found


def _sample(args: argparse.Namespace) -> SamplingFigures:
    dtype = getattr(torch, args.dtype)
    pipeline = random_generator(args.size, torch.device(args.device), dtype)
    found = measure_sampling(
        pipeline,
        args.pixels,
        images=args.images,
        batch_size=min(args.batch_size, args.images),
        steps=args.steps,
        guidance=args.guidance,
        rounds=args.rounds,
    )
    ratio = found.seconds[UNCACHED] / found.seconds[CACHED]
    print(
        f"sampling of {found.images} images in {args.steps} steps, guidance {args.guidance:g}: "
        f"{found.images_per_second:.2f} images/s with a cached reference, {ratio:.2f} times the "
        f"time uncached, peak {found.peak_bytes / 1e9:.2f} GB\n"
        f"images of cached references and of those read one by one: "
        f"{'equal' if found.is_equal else 'DIFFERENT'}; read in one batch they differ by at most "
        f"{found.largest_difference} of 255 grey levels",
        flush=True,
    )
    return found


def _results(
    args: argparse.Namespace, training: TrainingFigures | None, sampling: SamplingFigures | None
) -> dict[str, Any]:
    is_goal = args.size == "sd1" and args.device.startswith("cuda")
    goals = verdicts(training, sampling) if is_goal else {}
    return {
        "about": {key: str(value) for key, value in vars(args).items() if key != "output"},
        "figures": {f"goal of {key}": text for key, text in goals.items()}
        | figures(training, sampling),
        "training": training and dataclasses.asdict(training),
        "sampling": sampling and dataclasses.asdict(sampling),
        "goals": goals,
    }


def main(args: argparse.Namespace) -> int:
    """Measure the parts, print the table and the goals, write the JSON file."""
    args.pixels = tuple(args.pixels or SIZES[args.size])
    height, width = args.pixels
    print(f"{args.size} at {height}x{width}, {args.dtype} on {args.device}")
    training = _train(args) if "training" in args.parts else None
    sampling = _sample(args) if "sampling" in args.parts else None
    print(as_table(training, sampling))
    content = _results(args, training, sampling)
    for key, verdict in content["goals"].items():
        print(f"{key}: {verdict}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(args.output, json.dumps(content, indent=1) + "\n")
    return 0 if sampling is None or sampling.is_equal else 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument("--size", choices=SIZES, default="sd1", help="which models (sd1)")
    parts = ("training", "sampling")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="(both)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu (cuda)")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    of_size = ", ".join(f"{height} {width} for {name}" for name, (height, width) in SIZES.items())
    parser.add_argument("--pixels", nargs=2, type=count, help=f"height and width ({of_size})")
    parser.add_argument("--batch", type=count, default=4, help="images of a training step (4)")
    parser.add_argument("--checkpointing", action="store_true", help="activations twice")
    parser.add_argument("--images", type=count, default=16, help="of the identity (16)")
    parser.add_argument("--batch-size", type=count, default=16, help="images sampled at once (16)")
    parser.add_argument("--steps", type=count, default=20, help="denoising steps (20)")
    parser.add_argument("--guidance", type=float, default=3.5, help="1 = without (3.5)")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each (3)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    return parse_command(parser)


if __name__ == "__main__":
    with short_errors():
        sys.exit(main(parse()))
