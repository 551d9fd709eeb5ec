r"""Generate a set of persons after the real images of a labelled one (Diffusion-ReID).

    python tools/generate_persons.py run \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/generated
    torchrun --nproc-per-node 8 tools/generate_persons.py run ...       # one process a GPU
    python tools/generate_persons.py verify|stats|preview|card ...      # the same configuration
    python tools/generate_persons.py plan --gpus 8 --speed 60 ...       # hours, memory, disk

"run" does all stages, and is meant where no command is given; list, caption, reference, fine-tune,
sample and filter do one each, and "run --stages" takes the same names. The same command continues a
job that was stopped in any way. Several machines each get a --shard; the first also does what is
done once. Identities that failed are in OUTPUT_DIR/failed and are tried again with --retry failed.

Results: OUTPUT_DIR/images (a set for GeneratedPersons) and OUTPUT_DIR/filter. The exit code is 0 if
every identity is done, 3 if some failed, 1 after an error.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from command import add_command, add_pairs, parse_command, tool_parser
from command import run as run_tool

if TYPE_CHECKING:
    from fastreid.config import CfgNode

STAGES = ("list", "caption", "reference", "fine-tune", "sample", "filter")


def run(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Do all stages of a job, or those of --stages; the same command continues.

    Identities whose line in captions.jsonl was corrected are done again with --retry changed.
    """
    from fastreid_ext.deploy.filter_models import filter_models
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.generate import generate

    retries = args.stages if args.retry == "failed" else ()
    with open_job(cfg, shard=args.shard, wait=args.wait, retries=retries) as job:
        report = generate(
            job,
            filter_models,
            stages=args.stages,
            redo_changed=args.retry == "changed",
        )
    end(str(report), report.failed)


def list_identities(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 1: write OUTPUT_DIR/identities.jsonl, and say which identities are left out.

    Each line is an identity with the real images to learn from, or the reason why there are none.
    When a job has begun in that folder (job.json), its list is shown and stays as it is.
    """
    from fastreid_ext.generation.identities.identity_list import (
        find_identities,
        read_identities,
        summary,
        used_identities,
        write_identities,
    )
    from fastreid_ext.generation.runs.layout import Layout
    from fastreid_ext.generation.stages.folder import SETTINGS

    layout = Layout(Path(cfg.OUTPUT_DIR))
    if (layout.output / SETTINGS).exists() and layout.identities.exists():
        identities = read_identities(layout.identities)
    else:
        identities = find_identities(cfg)
        write_identities(layout.identities, identities)
    for identity in identities:
        if identity.reason:
            logging.info("%s: %s", identity.name, identity.reason)
    used_identities(identities)
    print(f"{summary(identities)}: {layout.identities}")


def caption(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 2: describe each identity in words.

    Writes OUTPUT_DIR/captions.jsonl, one line for each identity. Read it, and correct "caption"
    where it is wrong: no later command writes over a line that is there.
    """
    from fastreid_ext.generation.runs.stage import CAPTION
    from fastreid_ext.generation.stages import captions
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.identities import list_identities

    retries = (CAPTION,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as job:
        list_identities(job)
        report = captions.caption(job, list(job.identities))
    edited = sum(row.edited for row in job.captions.values())
    end(
        f"{report.done} identities captioned, {report.skipped} were, {len(report.failed)} failed; "
        f"{len(job.captions)} captions ({edited} corrected by hand): {job.layout.captions}",
        report.failed,
    )


def reference(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 3: generate the reference sets, with the base model as it is.

    Identities whose captions are alike share a set (GENERATION.REFERENCE_SET). Look at grid.png in
    the folders of OUTPUT_DIR/reference_sets: what is wrong there is wrong with the prompt or the
    base model, not with the fine-tuning.
    """
    from fastreid_ext.generation.runs.stage import REFERENCE
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.identities import list_identities
    from fastreid_ext.generation.stages.reference_sets import (
        assign_reference_sets,
        expect_reference_sets_wanted,
        make_reference_sets,
    )

    expect_reference_sets_wanted(cfg)
    retries = (REFERENCE,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as job:
        list_identities(job)
        assign_reference_sets(job)
        report = make_reference_sets(job)
    sets = job.layout.clusters.parent
    end(
        f"{report.done} reference sets generated, {report.skipped} were there, "
        f"{len(report.failed)} failed, for {len(job.prompts)} identities; "
        f"look at {sets}/*/grid.png",
        report.failed,
    )


def fine_tune(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 4: fine-tune the base model for each identity, by default a small adapter each.

    Reads captions.jsonl and reference_sets/ in OUTPUT_DIR, writes adapters/<identity>/, which
    diffusers opens with pipe.load_lora_weights. training.json there has the losses. Several are
    fine-tuned at once (GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE), which changes no result.
    """
    from fastreid_ext.generation.runs.stage import FINE_TUNE
    from fastreid_ext.generation.stages import fine_tuning
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.identities import list_identities
    from fastreid_ext.generation.stages.reference_sets import assign_reference_sets

    retries = (FINE_TUNE,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as job:
        list_identities(job)
        assign_reference_sets(job)
        report = fine_tuning.fine_tune(job, job.select(args.persons))
    end(
        f"{report.done} identities fine-tuned, {report.skipped} were, {len(report.failed)} failed: "
        f"{job.layout.output / 'adapters'}; generate images with tools/generate_persons.py sample",
        report.failed,
    )


def sample(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 5: generate the images of the identities that have been fine-tuned.

    Every image has a seed of its own, so it does not depend on the number of images, of workers or
    of interruptions. --persons generates only some, to look at them first.
    """
    from fastreid_ext.generation.runs.stage import SAMPLE
    from fastreid_ext.generation.stages import sampling
    from fastreid_ext.generation.stages.command import end
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.identities import list_identities

    retries = (SAMPLE,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as job:
        list_identities(job)
        report, left = sampling.sample_fine_tuned(job, job.select(args.persons))
    end(
        f"{report.done} identities generated, {report.skipped} were, {len(report.failed)} failed, "
        f"{left} are not fine-tuned yet (tools/generate_persons.py "
        f"fine-tune): {job.layout.images}",
        report.failed,
    )


def filter_images(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Stage 6: score the images of a generated set once, and keep or reject them by thresholds.

    Scores are written into the rows of the set. --decide-only decides again by other keys of
    GENERATION.FILTER without loading a model. Files and pictures go to OUTPUT_DIR/filter.
    """
    from fastreid_ext.deploy.filter_models import filter_models
    from fastreid_ext.generation.filters import run_filter
    from fastreid_ext.generation.stages.command import end

    models = {} if args.decide_only else filter_models(cfg)
    report = run_filter(
        cfg,
        models,
        images=args.set,
        decide_only=args.decide_only,
        retry_failed=args.retry == "failed",
        plot=not args.no_pictures,
    )
    end(f"{report}; see {Path(cfg.OUTPUT_DIR) / 'filter'}", report.unscored)


def verify(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Check every file of a job; exits with 1 and the problems if there are any."""
    from fastreid_ext.generation.stages.report import report_of
    from fastreid_ext.generation.stages.verify import verify_job

    if problems := verify_job(cfg):
        sys.exit("\n".join([*problems, f"{len(problems)} problems in {cfg.OUTPUT_DIR}"]))
    print(f"no problem found: {report_of(cfg)}")


def stats(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Print a table of numbers of a job, and plot its scores."""
    from fastreid_ext.generation.stages.overview import statistics

    table, picture = statistics(cfg, args.output)
    for what, number in table:
        logging.info("%-36s %s", what, number)
    print(f"wrote {picture}")


def preview(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Show real and generated images of some identities in one picture."""
    from fastreid_ext.generation.stages import overview

    print(f"wrote {overview.preview(cfg, args.output, args.identities)}")


def card(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Write the data set card of a generated set again."""
    from fastreid_ext.generation.generated_set.card import write_card
    from fastreid_ext.generation.runs.layout import Layout
    from fastreid_ext.generation.stages.overview import set_title

    print(f"wrote {write_card(cfg, Layout(Path(cfg.OUTPUT_DIR)).images, set_title(cfg))}")


def plan(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Compute hours, memory and disk of a job before it is started."""
    from fastreid_ext.generation.stages.plan import plan_of

    found = plan_of(cfg, args.identities, args.reference_sets)
    for what, number in found.table(args.speed, args.gpus):
        logging.info("%-36s %s", what, number)
    print(f"computed for {args.speed:g} TFLOP/s of a GPU; captions and filters are not counted")


COMMANDS = {
    "run": run,
    "list": list_identities,
    "caption": caption,
    "reference": reference,
    "fine-tune": fine_tune,
    "sample": sample,
    "filter": filter_images,
    "verify": verify,
    "stats": stats,
    "preview": preview,
    "card": card,
    "plan": plan,
}

COMPUTING = ("run", "caption", "reference", "fine-tune", "sample", "filter")  # run a model


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {name: add_command(commands, name, run) for name, run in COMMANDS.items()}
    for name, command in parsers.items():
        command.add_argument("--config-file", default="", help="local YAML file")
        _add_options(name, command)
        add_pairs(command)
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_named = bool(words) and (not words[0].startswith("-") or words[0] in ("-h", "--help"))
    return parse_command(parser, words if is_named else ["run", *words])


def _add_options(name: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of one command."""
    if name == "run":
        parser.add_argument(
            "--stages",
            nargs="+",
            choices=STAGES,
            default=STAGES,
            help="only these, by the names of their commands (all)",
        )
        parser.add_argument("--wait", type=float, default=60.0, help="minutes for idle shards (60)")
    if name in ("run", "caption", "reference", "fine-tune", "sample"):
        parser.add_argument("--shard", default="", metavar="INDEX/COUNT", help="a part of the job")
    if name in ("caption", "reference", "fine-tune", "sample", "filter"):
        parser.add_argument("--retry", choices=("failed",), help="try again what failed before")
    if name == "run":
        parser.add_argument("--retry", choices=("failed", "changed"), help="do these again")
    if name in ("fine-tune", "sample"):
        parser.add_argument("--persons", type=_names, default=[], help="NAME,NAME,...; default all")
    if name == "filter":
        parser.add_argument("--set", type=Path, help="a generated set; default OUTPUT_DIR/images")
        parser.add_argument("--decide-only", action="store_true", help="use the scores there are")
        parser.add_argument("--no-pictures", action="store_true", help="for a very large set")
    if name in ("stats", "preview"):
        parser.add_argument("--output", type=Path, help="PNG to write")
    if name == "preview":
        parser.add_argument("--identities", type=int, default=12, help="rows of the picture (12)")
    if name == "plan":
        parser.add_argument("--identities", type=int, default=751, help="of the job (751)")
        parser.add_argument("--reference-sets", type=int, default=60, help="of the job (60)")
        parser.add_argument("--speed", type=float, default=60.0, help="TFLOP/s of a GPU (60)")
        parser.add_argument("--gpus", type=int, default=1, help="GPUs at work (1)")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main(args: argparse.Namespace) -> None:
    """Read the configuration before the command imports diffusers and transformers."""
    from fastreid_ext.generation.stages.command import job_config

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    computes = args.command in COMPUTING and not getattr(args, "decide_only", False)
    args.function(job_config(args.config_file, args.opts, computes=computes), args)


if __name__ == "__main__":
    run_tool(main, parse())
