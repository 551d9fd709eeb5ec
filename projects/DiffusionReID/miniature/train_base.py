"""Train a miniature diffusion pipeline, CLIP and captioner on captioned rendered persons."""

import argparse
import logging
import time
from pathlib import Path

from fastreid_ext.command_line import short_errors
from projects.DiffusionReID.miniature.captioned_persons import DOMAINS, find_captions
from projects.DiffusionReID.miniature.recipe import RECIPES, STAGES, Job, run_stages, with_steps
from projects.DiffusionReID.miniature.report import is_complete, write_report


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start = time.monotonic()
    steps = dict(_pair(text) for text in args.steps)
    captions = find_captions(args.data, args.domains)
    job = Job(
        recipe=with_steps(RECIPES[args.size], steps),
        captions=captions[: args.limit],
        output=args.output,
        device=args.device,
        seed=args.seed,
    )
    done = run_stages(job, args.stages)
    seconds = time.monotonic() - start
    numbers = write_report(job) if is_complete(job) else {}
    told = "".join(f"; {name} {number}" for name, number in numbers.items())
    print(f"{args.output}: trained {', '.join(done) or 'nothing'} in {seconds:.0f} s{told}")


def _pair(text: str) -> tuple[str, int]:
    stage, _, number = text.partition("=")
    return stage, int(number) if number.isdecimal() else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="roots of rendered sets"
    )
    parser.add_argument("--domains", nargs="+", default=DOMAINS, help=f"default: {DOMAINS}")
    parser.add_argument("--output", type=Path, required=True, help="folder of the models")
    parser.add_argument("--size", choices=RECIPES, default="miniature")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--steps", nargs="+", default=[], metavar="STAGE=STEPS")
    parser.add_argument("--limit", type=int, help="only so many images")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
