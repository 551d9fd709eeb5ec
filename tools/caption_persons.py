"""Stage 2 of drawing persons: say in words what each looks like.

    python tools/caption_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Writes OUTPUT_DIR/captions.jsonl, one line for each identity. Read it, and correct `caption` where
it is wrong: no later command writes over a line that is there.
"""

import argparse
import logging

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.command import end, job_config, stage_parser


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts)
    # Here, so that mistakes are said before diffusers and transformers are imported.
    from fastreid_ext.generation.stages.captions import (
        ask_captioner,
        captions_of_job,
        identities_of_job,
    )
    from fastreid_ext.generation.stages.folder import open_job

    retries = ("captions",) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as worker:
        people = identities_of_job(cfg, worker)
        report = ask_captioner(cfg, worker, people)
        rows = captions_of_job(cfg, worker, people)
    edited = sum(row.edited for row in rows.values())
    end(
        f"{report.done} identities captioned, {report.skipped} were, {len(report.failed)} failed; "
        f"{len(rows)} captions ({edited} corrected by hand): {Layout(worker.output).captions}",
        report.failed,
    )


if __name__ == "__main__":
    with short_errors():
        main(stage_parser(__doc__).parse_args())
