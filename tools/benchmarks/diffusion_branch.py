"""Measure what the diffusion branch of DCAC adds to a training step, by mode and by lever.

    python tools/benchmarks/diffusion_branch.py --output logs/diffusion_branch.json
    python tools/benchmarks/diffusion_branch.py --modes lora --levers dtype SOLVER.IMS_PER_BATCH 8

On a GPU the models are DCAC's: CLIP ViT-B/16 at 256x128 and Stable Diffusion 1.5 with latents of
128x128 pixels, random weights, batches of 64, mixed precision. On a CPU they are small ones of the
same make: ViT-Ti/16 at 128x64, Stable Diffusion 1.5 with a tenth of its channels, batches of 16,
float32, one thread.

Baseline (the model without branch), reference and variant run in turn, in this process, on random
batches on the device; ratios are medians over the rounds. The reference is the mode "lora" with
cached latents, single-token attention and, under mixed precision, frozen weights in float16; rows
below the modes change one thing of it. Time is the process's CPU time, on CUDA wall time up to the
end of the GPU's work. Memory is the most that weights, gradients, optimizer and activations take
together: on CUDA what torch's allocator holds, on the CPU the growth of a process of its own.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import dataclasses
import functools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from measuring.diffusion_branch import (
    LEVERS,
    MODES,
    SIZES,
    Figures,
    measure,
    read_configuration,
    reference_of,
)

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tools
from command import add_pairs, count, parse_command, tool_parser

# Most of the baseline's step and memory that "lora" may take; DCAC's paper reports 4.12 and 2.4.
GOALS = {"step": 2.0, "memory": 1.6}
_HEADS = ("", "step / baseline", "memory / baseline", "step / {}", "memory / {}", "ms", "MiB")


def as_table(rows: Sequence[Figures], reference: str) -> str:
    """Return the figures as a Markdown table."""
    heads = [head.format(reference) for head in _HEADS]
    return tabulate([_cells(one) for one in rows], heads, tablefmt="github", disable_numparse=True)


def verdicts(rows: Sequence[Figures]) -> dict[str, str]:
    """Return for "step" and "memory" whether the mode "lora" reaches the goal."""
    found = [one for one in rows if one.name == "lora"]
    return {key: _verdict(getattr(one, key), goal) for one in found for key, goal in GOALS.items()}


def _cells(one: Figures) -> list[str]:
    if one.skipped:
        return [one.name, f"skipped: {one.skipped}"]
    ratios = (one.step, one.memory, one.step_of_reference, one.memory_of_reference)
    figures = [f"{1e3 * one.seconds:.0f}", f"{one.mib:.0f}"]
    return [one.name, *(f"{ratio:.2f}" for ratio in ratios), *figures]


def _verdict(ratio: float, goal: float) -> str:
    return f"{ratio:.2f}, goal {goal:.1f}: {'holds' if ratio <= goal else 'missed'}"


def main(args: argparse.Namespace) -> None:
    """Measure every row, print the table and the goals, write the JSON file."""
    is_cuda = args.device.startswith("cuda")
    size = args.size or ("full" if is_cuda else "small")
    pairs = list(args.opts)
    if args.batch:
        pairs += ["SOLVER.IMS_PER_BATCH", str(args.batch)]
    levers = args.levers
    if levers is None:
        levers = [lever for lever in LEVERS if is_cuda or lever != "compile"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        read = functools.partial(read_configuration, size, args.device, Path(folder), pairs)
        images = read().SOLVER.IMS_PER_BATCH
        for row in measure(args.modes, levers, read, args.rounds):
            print(
                f"{row.name}: measured" if not row.skipped else f"{row.name}: skipped", flush=True
            )
            rows.append(row)
    about = {"size": size, "device": args.device, "batch": images, "rounds": args.rounds}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(as_table(rows, reference_of(args.modes)))
    goals = verdicts(rows) if size == "full" and is_cuda else {}
    for key, verdict in goals.items():
        print(f"{key} of lora over the baseline's: {verdict}")
    if args.output:
        content = about | {"goals": goals, "rows": [dataclasses.asdict(row) for row in rows]}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(args.output, json.dumps(content, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = tool_parser(__doc__)
    parser.add_argument("--device", default=device, help=f"cuda, cuda:1 or cpu ({device})")
    parser.add_argument("--size", choices=SIZES, help="(full on a GPU, small on a CPU)")
    parser.add_argument("--rounds", type=count, default=3, help="measured steps of each (3)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="(all)")
    help_of_levers = "(all; without compile on a CPU, where it takes minutes)"
    parser.add_argument("--levers", nargs="*", choices=LEVERS, help=help_of_levers)
    parser.add_argument("--batch", type=count, help="images of a step (64, or 16 if small)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    add_pairs(parser)
    return parse_command(parser)


if __name__ == "__main__":
    with short_errors():
        main(parse())
