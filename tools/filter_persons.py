"""Score the images of a generated set once, and keep or reject them by thresholds.

Scores are written into the rows of the set. --decide-only decides again by other keys of
GENERATION.FILTER without loading a model. Files and pictures go to OUTPUT_DIR/filter.

    python tools/filter_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        OUTPUT_DIR logs/drawn
    python tools/filter_persons.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        --decide-only OUTPUT_DIR logs/drawn GENERATION.FILTER.REID.PERCENTILE 25.0
"""

import argparse
import logging
from pathlib import Path

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.generation.stages.command import end, job_config


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts, computes=not args.decide_only)
    # Here, so that mistakes are said before diffusers and transformers are imported.
    from fastreid_ext.deploy.filter_models import filter_models
    from fastreid_ext.generation.filters import run_filter

    models = {} if args.decide_only else filter_models(cfg)
    report = run_filter(
        cfg,
        models,
        images=args.set,
        decide_only=args.decide_only,
        retry_failed=args.retry == "failed",
        draw=not args.no_pictures,
    )
    end(f"{report}; see {Path(cfg.OUTPUT_DIR) / 'filter'}", report.unscored)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--set", type=Path, help="a generated set; default: OUTPUT_DIR/images")
    parser.add_argument("--decide-only", action="store_true", help="use the scores that are there")
    parser.add_argument("--retry", choices=("failed",), help="score failed identities again")
    parser.add_argument("--no-pictures", action="store_true", help="of a very large set")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
