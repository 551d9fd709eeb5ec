"""Stage 4 of drawing persons: learn each person, by default a small adapter each.

    python tools/fine_tune_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Reads captions.jsonl and reference_sets/ in OUTPUT_DIR, writes adapters/<person>/, which diffusers
opens with pipe.load_lora_weights. training.json there has the losses. Several persons are learned
at once (GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE); who is beside whom changes nothing.
"""

import argparse
import logging

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.generation.stages.command import end, job_config, stage_parser


def parse() -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--persons", default="", help="names with commas between; default all")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts)
    # Here, so that mistakes are said before diffusers and transformers are imported.
    from fastreid_ext.generation.captions.captions_file import read_captions
    from fastreid_ext.generation.stages.captions import (
        clusters_of_job,
        identities_of_job,
        prompts_of_job,
    )
    from fastreid_ext.generation.stages.fine_tuning import FINE_TUNING, tune_persons_of_job
    from fastreid_ext.generation.stages.folder import open_job

    retries = (FINE_TUNING,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as worker:
        people = {person.name: person for person in identities_of_job(cfg, worker)}
        rows = read_captions(worker.output)
        prompts = prompts_of_job(cfg, worker, {name: rows[name] for name in people if name in rows})
        has_sets = cfg.GENERATION.REFERENCE_SET.IMAGES > 0
        clusters = clusters_of_job(cfg, worker, prompts)[0] if has_sets else {}
        wanted = [name for name in args.persons.split(",") if name]
        report = tune_persons_of_job(cfg, worker, people, prompts, clusters, wanted)
    end(
        f"{report.done} persons learned, {report.skipped} were, {len(report.failed)} failed: "
        f"{worker.output / 'adapters'}; draw them with tools/sample_persons.py",
        report.failed,
    )


if __name__ == "__main__":
    with short_errors():
        main(parse())
