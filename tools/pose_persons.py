r"""Give a training set the poses and viewpoints that it lacks (Diff-ID).

    python tools/pose_persons.py check-fits --config-file <configuration> DATASETS.ROOT datasets
    python tools/pose_persons.py train --config-file <configuration> DATASETS.ROOT datasets
    accelerate launch tools/pose_persons.py train ...                   # several GPUs
    python tools/pose_persons.py plan --config-file <configuration> OUTPUT_DIR logs/plan

Configurations are in projects/DiffID/configs. The body in each training image must be known:
docs/body_fits.md. The same command continues a training that was stopped in any way; results are in
OUTPUT_DIR: samples/, metrics.jsonl and at the end generator/. "plan" measures which viewpoints and
poses the set has, and chooses those to generate.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from command import add_command, add_pairs, parse_command, tool_parser
from command import run as run_tool

if TYPE_CHECKING:
    from fastreid.config import CfgNode


def train(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Train the generator on images with body fits; the same command continues."""
    from fastreid_ext.generation.pose_guided.training import train_generator

    print(train_generator(cfg))


def check_fits(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Check the body fits of DATASETS.NAMES: units, axes, places, and the images they are of."""
    from fastreid_ext.generation.pose_guided.training_images import problems_of_sets

    if problems := problems_of_sets(cfg):
        sys.exit("\n".join([*problems, f"{len(problems)} problems"]))
    print("no problem found")


def plan(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Choose poses and viewpoints to generate, and plot those of the set before and after.

    Writes OUTPUT_DIR/plan.jsonl, poses.npz and distribution.png (figure 3 of the paper).
    """
    from pathlib import Path

    from fastreid_ext.generation.pose_plan.figure import plot_distribution
    from fastreid_ext.generation.pose_plan.plan import make_plan

    made = make_plan(cfg)
    picture = Path(cfg.OUTPUT_DIR) / "distribution.png"
    for name, (views, poses) in plot_distribution(cfg, made, picture).items():
        logging.info("%-8s views %.3f nats from uniform, poses %.3f", name, views, poses)
    print(f"{len(made.images)} images are planned; wrote {picture}")


COMMANDS = {"check-fits": check_fits, "train": train, "plan": plan}
COMPUTING = ("train",)  # run a model


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, function in COMMANDS.items():
        command = add_command(commands, name, function)
        command.add_argument("--config-file", required=True, help="local YAML file")
        add_pairs(command)
    return parse_command(parser, arguments)


def main(args: argparse.Namespace) -> None:
    """Read the configuration before the command imports diffusers and transformers."""
    from fastreid_ext.generation.stages.command import job_config

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    computes = args.command in COMPUTING
    args.function(job_config(args.config_file, args.opts, computes=computes), args)


if __name__ == "__main__":
    run_tool(main, parse())
