"""Draw a set of persons after the photographs of a labelled one (Diffusion-ReID), or look at it.

    python tools/generate_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn
    torchrun --nproc-per-node 8 tools/generate_persons.py ...           # one process a GPU
    python tools/generate_persons.py verify|stats|preview|card ...      # the same configuration
    python tools/generate_persons.py plan --gpus 8 --speed 60 ...       # hours, memory, disk

The same command continues a job that was stopped in any way. Several machines each get a --shard;
the first also does what is done once. Identities that failed are in OUTPUT_DIR/failed and are
tried again with --retry failed, those whose line in captions.jsonl was corrected with --retry
changed. Results: OUTPUT_DIR/images (a set for GeneratedPersons) and OUTPUT_DIR/filter.
The exit code is 0 if every identity is done, 3 if some failed, 1 after an error.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.command_line import short_errors, split_pairs
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.command import STAGES, end, job_config

# Commands import what they need, so that help and mistakes do not wait for diffusers.


def run(cfg: CfgNode, args: argparse.Namespace) -> None:
    retries, redo = args.stages if args.retry == "failed" else (), args.retry == "changed"
    from fastreid_ext.deploy.filter_models import filter_models
    from fastreid_ext.generation.stages import job
    from fastreid_ext.generation.stages.folder import open_job

    options = {"shard": args.shard, "wait": args.wait, "retries": retries}
    with open_job(cfg, **options) as worker:
        report = job.generate(cfg, worker, filter_models, stages=args.stages, redo_changed=redo)
    end(str(report), report.failed)


def verify(cfg: CfgNode, args: argparse.Namespace) -> None:
    from fastreid_ext.generation.stages import job, verify

    if problems := verify.verify_job(cfg):
        sys.exit("\n".join([*problems, f"{len(problems)} problems in {cfg.OUTPUT_DIR}"]))
    print(f"no problem found: {job.report_of(cfg)}")


def stats(cfg: CfgNode, args: argparse.Namespace) -> None:
    from fastreid_ext.generation.stages import job

    table, picture = job.statistics(cfg, args.output)
    for what, number in table:
        logging.info("%-36s %s", what, number)
    print(f"wrote {picture}")


def preview(cfg: CfgNode, args: argparse.Namespace) -> None:
    from fastreid_ext.generation.stages import job

    print(f"wrote {job.preview(cfg, args.output, args.identities)}")


def card(cfg: CfgNode, args: argparse.Namespace) -> None:
    from fastreid_ext.generation.generated_set.card import write_card
    from fastreid_ext.generation.stages import job

    print(f"wrote {write_card(cfg, Layout(Path(cfg.OUTPUT_DIR)).images, job.title(cfg))}")


def plan(cfg: CfgNode, args: argparse.Namespace) -> None:
    from fastreid_ext.generation.stages.plan import plan_of

    found = plan_of(cfg, args.identities, args.reference_sets)
    for what, number in found.table(args.speed, args.gpus):
        logging.info("%-36s %s", what, number)
    print(f"computed for {args.speed:g} TFLOP/s of a GPU; captions and filters are not counted")


COMMANDS = {
    "run": run,
    "verify": verify,
    "stats": stats,
    "preview": preview,
    "card": card,
    "plan": plan,
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [run|verify|stats|preview|card|plan] --config-file FILE [options] [KEY "
        "VALUE]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", required=True, help="local YAML file")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--shard", default="", metavar="INDEX/COUNT", help="a part of the job")
    parser.add_argument("--retry", choices=("failed", "changed"), help="do these again")
    parser.add_argument("--wait", type=float, default=60.0, help="minutes for idle shards (60)")
    parser.add_argument("--identities", type=int, help="in the preview (12) or planned (751)")
    parser.add_argument("--reference-sets", type=int, default=60, help="planned (60)")
    parser.add_argument("--speed", type=float, default=60.0, help="TFLOP/s of a GPU, planned (60)")
    parser.add_argument("--gpus", type=int, default=1, help="planned (1)")
    parser.add_argument("--output", type=Path, help="PNG of stats and preview")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, at the end")
    is_named = bool(arguments) and not arguments[0].startswith("-")
    command, words = (arguments[0], arguments[1:]) if is_named else ("run", arguments)
    if command not in COMMANDS:
        parser.error(f"expected a command of {', '.join(COMMANDS)}, got '{command}'")
    options, pairs = split_pairs(words)
    args = parser.parse_args(options)
    args.command, args.opts = command, args.opts + pairs
    if args.identities is None:
        args.identities = 751 if command == "plan" else 12
    return args


def main() -> None:
    args = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts, computes=args.command == "run")
    COMMANDS[args.command](cfg, args)


if __name__ == "__main__":
    with short_errors():
        main()
