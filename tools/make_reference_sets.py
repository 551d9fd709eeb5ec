"""Stage 3 of drawing persons: what the untouched model draws for their captions.

    python tools/make_reference_sets.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Persons whose captions are alike share a set (GENERATION.REFERENCE_SET). Look at grid.png in the
folders of OUTPUT_DIR/reference_sets: what is wrong there is wrong with the prompt or the base
model, not with the fine-tuning.
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
    from fastreid_ext.generation.captions.captions_file import read_captions
    from fastreid_ext.generation.stages.captions import (
        clusters_of_job,
        identities_of_job,
        prompts_of_job,
    )
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.sampling import (
        REFERENCE_SETS,
        Models,
        draw_reference_sets,
        expect_reference_sets_wanted,
    )

    expect_reference_sets_wanted(cfg)
    retries = (REFERENCE_SETS,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as worker:
        people = identities_of_job(cfg, worker)
        rows = read_captions(worker.output)
        known = {person.name: rows[person.name] for person in people if person.name in rows}
        prompts = prompts_of_job(cfg, worker, known)
        clusters, leaders = clusters_of_job(cfg, worker, prompts)
        report = draw_reference_sets(cfg, worker, prompts, clusters, leaders, Models(cfg))
    sets = Layout(worker.output).clusters.parent
    end(
        f"{report.done} reference sets drawn, {report.skipped} were there, {len(report.failed)} "
        f"failed, for {len(prompts)} identities; look at {sets}/*/grid.png",
        report.failed,
    )


if __name__ == "__main__":
    with short_errors():
        main(stage_parser(__doc__).parse_args())
