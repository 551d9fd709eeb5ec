r"""Give a training set the poses and viewpoints that it lacks (Diff-ID).

    python tools/pose_persons.py check-fits --config-file <configuration> DATASETS.ROOT datasets
    python tools/pose_persons.py train --config-file <configuration> DATASETS.ROOT datasets
    accelerate launch tools/pose_persons.py train ...                   # several GPUs
    python tools/pose_persons.py distribution --config-file <configuration>
    python tools/pose_persons.py run --config-file <configuration>      # and --shard, --retry
    python tools/pose_persons.py verify|stats|preview|card ...          # the same configuration

Configurations are in projects/DiffID/configs. The body in each training image must be known:
docs/body_fits.md. The same command continues a training that was stopped in any way; results are in
OUTPUT_DIR: samples/, metrics.jsonl and at the end generator/. "distribution" shows which viewpoints
and poses the set has; "plan" chooses those to generate; "run" plans, generates and filters, and
makes OUTPUT_DIR/images, a set for GeneratedPersons; "sample" and "filter" do a part of that. Like
tools/generate_persons.py, whose files and keys (GENERATION.SAMPLING, FILTER) it shares, it
continues a job that was stopped.
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


def distribution(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Measure and plot the viewpoints and poses of the training set; nothing is planned."""
    from pathlib import Path

    from fastreid_ext.generation.pose_plan.figure import plot_set

    picture = Path(cfg.OUTPUT_DIR) / "poses_and_views_of_set.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    views, poses = plot_set(cfg, picture)
    print(f"views {views:.3f} nats from uniform, poses {poses:.3f}; wrote {picture}")


def plan(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Choose poses and viewpoints to generate, and plot those of the set before and after.

    Writes OUTPUT_DIR/plan.jsonl, poses.npz and poses_and_views.png (figure 3 of the paper).
    """
    from pathlib import Path

    from fastreid_ext.generation.pose_plan.figure import plot_distribution
    from fastreid_ext.generation.pose_plan.plan import make_plan

    made = make_plan(cfg)
    picture = Path(cfg.OUTPUT_DIR) / "poses_and_views.png"
    for name, (views, poses) in plot_distribution(cfg, made, picture).items():
        logging.info("%-8s views %.3f nats from uniform, poses %.3f", name, views, poses)
    print(f"{len(made.images)} images are planned; wrote {picture}")


def run(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Plan, generate and filter the images of a set; the same command continues."""
    from fastreid_ext.deploy.filter_models import filter_models
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.posed import STAGES, generate_posed

    report = generate_posed(
        cfg,
        filter_models,
        stages=args.stages or STAGES,
        shard=args.shard,
        retries=STAGES if args.retry else (),
        wait=args.wait,
    )
    end(str(report), report.failed)


def sample(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Plan and generate this shard's images, and leave the filters to a later command."""
    args.stages = ("plan", "sample")
    run(cfg, args)


def filter_images(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Filter the generated images, which must all be there, and describe the finished set."""
    args.stages = ("filter",)
    run(cfg, args)


def verify(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Check the files of a finished job; the exit code is 1 if something is wrong."""
    from fastreid_ext.generation.stages.posed import verify_posed

    problems, report = verify_posed(cfg)
    if problems:
        sys.exit("\n".join([*problems, f"{len(problems)} problems in {cfg.OUTPUT_DIR}"]))
    print(f"no problem found: {report}")


def preview(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Show real and generated images of some identities in one picture."""
    from fastreid_ext.generation.stages import overview

    print(f"wrote {overview.preview(cfg)}")


def stats(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Print a table of numbers of a job, and plot them."""
    from fastreid_ext.generation.stages.overview import statistics

    table, picture = statistics(cfg)
    for what, number in table:
        logging.info("%-36s %s", what, number)
    print(f"wrote {picture}")


def card(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Write the data set card of a generated set again."""
    from pathlib import Path

    from fastreid_ext.generation.generated_set.card import write_card
    from fastreid_ext.generation.runs.layout import Layout
    from fastreid_ext.generation.stages.overview import set_title

    print(f"wrote {write_card(cfg, Layout(Path(cfg.OUTPUT_DIR)).images, set_title(cfg))}")


COMMANDS = {
    "check-fits": check_fits,
    "train": train,
    "distribution": distribution,
    "plan": plan,
    "run": run,
    "sample": sample,
    "filter": filter_images,
    "verify": verify,
    "stats": stats,
    "preview": preview,
    "card": card,
}
COMPUTING = ("train", "run", "sample", "filter")  # run a model


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, function in COMMANDS.items():
        command = add_command(commands, name, function)
        command.add_argument("--config-file", required=True, help="local YAML file")
        if name == "run":
            command.add_argument("--stages", nargs="+", choices=("plan", "sample", "filter"))
        if name in ("run", "sample", "filter"):
            command.add_argument("--wait", type=float, default=60.0, help="minutes for idle shards")
            command.add_argument("--shard", default="", metavar="INDEX/COUNT", help="a part")
            command.add_argument("--retry", choices=("failed",), help="try again what failed")
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
