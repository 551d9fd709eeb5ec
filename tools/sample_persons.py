"""Stage 5 of drawing persons: draw the images of those who have been learned.

    python tools/sample_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Every image has a seed of its own, so it does not depend on the number of images, of workers or of
interruptions. --persons draws only some, to look at them first.
"""

import argparse
import logging

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.command import end, job_config, stage_parser


def parse() -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--persons", default="", help="names with commas between; default all")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts)
    # Here, so that mistakes are said before diffusers and transformers are imported.
    from fastreid_ext.diffusion.adapter_files import is_trained
    from fastreid_ext.generation.captions.captions_file import read_captions
    from fastreid_ext.generation.runs.stage import run_stage
    from fastreid_ext.generation.stages.captions import identities_of_job, prompts_of_job
    from fastreid_ext.generation.stages.fine_tuning import named_persons
    from fastreid_ext.generation.stages.folder import open_job
    from fastreid_ext.generation.stages.sampling import PERSONS, Models
    from fastreid_ext.generation.stages.sampling_work import drawing_work

    retries = (PERSONS,) if args.retry else ()
    with open_job(cfg, shard=args.shard, retries=retries) as worker:
        layout = Layout(worker.output)
        people = {person.name: person for person in identities_of_job(cfg, worker)}
        rows = read_captions(worker.output)
        captioned = [name for name in people if name in rows]
        wanted = named_persons([name for name in args.persons.split(",") if name], captioned)
        learned = [name for name in wanted if is_trained(layout.adapter(name))]
        prompts = prompts_of_job(cfg, worker, {name: rows[name] for name in learned})
        images = cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY
        texts = {name: own.sampled for name, own in prompts.items()}
        report = run_stage(
            list(texts),
            lambda: drawing_work(cfg, Models(cfg).drawing, people, texts, layout),
            lambda name: layout.has_images(name, images),
            stage=PERSONS,
            worker=worker,
            together=cfg.GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE,
        )
    end(
        f"{report.done} identities drawn, {report.skipped} were, {len(report.failed)} failed, "
        f"{len(wanted) - len(learned)} are not learned yet (tools/fine_tune_persons.py): "
        f"{layout.images}",
        report.failed,
    )


if __name__ == "__main__":
    with short_errors():
        main(parse())
