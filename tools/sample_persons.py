"""Stage 5 of drawing persons: draw the images of those who have been learned.

    python tools/sample_persons.py --config-file projects/DiffusionReID/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Every image has a seed of its own, so it does not depend on the number of images, of workers or of
interruptions. --persons draws only some, to look at them first.
"""

import argparse
import logging

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.generation.drawing.drawing_work import drawing_work
from fastreid_ext.generation.job.drawing import PERSONS, Models
from fastreid_ext.generation.job.folder import open_job
from fastreid_ext.generation.job.layout import Layout
from fastreid_ext.generation.job.people import identities_of_job, prompts_of_job
from fastreid_ext.generation.job.stage import run_stage
from fastreid_ext.generation.job.workers import local_device
from fastreid_ext.generation.tuning.adapter_files import is_trained
from fastreid_ext.generation.words.captions import read_captions


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--shard", default="", help="INDEX/COUNT: this process's part; default all")
    parser.add_argument("--retry", choices=["failed"], help="try again what failed before")
    parser.add_argument("--persons", default="", help="names with commas between; default all")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    without_weights = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    cfg = load_config(args.config_file, [*args.opts, *without_weights])
    cfg.defrost()
    cfg.MODEL.DEVICE = local_device(cfg.MODEL.DEVICE)
    with open_job(cfg, shard=args.shard, retry_failed=bool(args.retry)) as worker:
        layout = Layout(worker.output)
        people = {person.name: person for person in identities_of_job(cfg, worker)}
        wanted = [name for name in args.persons.split(",") if name] or list(people)
        if unknown := [name for name in wanted if name not in people]:
            raise ValueError(f"--persons has {unknown}, who are not in {layout.identities}")
        rows = read_captions(worker.output)
        learned = [name for name in wanted if name in rows and is_trained(layout.adapter(name))]
        prompts = prompts_of_job(cfg, worker, {name: rows[name] for name in learned})
        texts = {name: own.identity for name, own in prompts.items()}
        report = run_stage(
            list(texts),
            lambda: drawing_work(cfg, Models(cfg).drawing, people, texts, layout),
            layout.is_drawn,
            stage=PERSONS,
            worker=worker,
            together=cfg.GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE,
        )
    print(
        f"{report.done} identities drawn, {report.skipped} were, {len(report.failed)} failed, "
        f"{len(wanted) - len(learned)} are not learned yet (tools/fine_tune_persons.py): "
        f"{layout.images}"
    )


if __name__ == "__main__":
    with short_errors():
        main(parse())
