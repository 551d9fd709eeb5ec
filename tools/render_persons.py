"""Render the person benchmark: ``python tools/render_persons.py --domain RenderedCampus``.

Deterministic for a seed, whatever the number of workers; run it again to finish a run that was
interrupted.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from command import parse_command, run, tool_parser

DOMAINS = ("RenderedCampus", "RenderedMall", "RenderedStation", "RenderedStreet", "RenderedVI")
DIFFICULTIES = ("easy", "hard")


def picture_size(text: str) -> tuple[int, int]:
    """``128x64`` as (128, 64), height first."""
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 128x64, got {text!r}")
    return int(height), int(width)


def main(arguments: argparse.Namespace) -> None:
    """Render the domains and print where they are."""
    from fastreid_ext.rendered.plan import Settings
    from fastreid_ext.rendered.preview import preview
    from fastreid_ext.rendered.writer import render_domain

    domains = list(DOMAINS) if arguments.domain == "all" else [arguments.domain]
    height, width = arguments.size
    if arguments.preview:
        preview(
            domains,
            arguments.preview,
            seed=arguments.seed,
            height=height,
            width=width,
            difficulty=arguments.difficulty,
        )
        print(f"preview of {', '.join(domains)}: {arguments.preview}")
        return
    for domain in domains:
        folder = render_domain(
            Settings(
                domain,
                arguments.train_identities,
                arguments.test_identities,
                arguments.images_per_identity,
                arguments.seed,
                height,
                width,
                arguments.unusual_poses,
                arguments.difficulty,
                arguments.front_walkers,
            ),
            arguments.root,
            workers=arguments.workers,
        )
        print(f"{domain}: {folder}, look at {folder / 'contact_sheet.png'}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--domain",
        default="all",
        choices=["all", *DOMAINS],
        help="which data set (default: all five)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("FASTREID_DATASETS", "datasets")),
        help="folder of data sets",
    )
    parser.add_argument(
        "--train-identities", type=int, default=300, help="people to train on (default 300)"
    )
    parser.add_argument(
        "--test-identities", type=int, default=150, help="other people to test on (default 150)"
    )
    parser.add_argument(
        "--images-per-identity", type=int, default=16, help="pictures of each (default 16)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed gives other people (default 0)"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    parser.add_argument(
        "--size", type=picture_size, default=(128, 64), help="HEIGHTxWIDTH (default 128x64)"
    )
    parser.add_argument(
        "--unusual-poses",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of pictures in poses seldom seen on a street, 0 to 1 (default 0)",
    )
    parser.add_argument(
        "--difficulty",
        choices=DIFFICULTIES,
        default="hard",
        help="hard: cameras that change and many look-alikes; easy: steady cameras (default hard)",
    )
    parser.add_argument(
        "--front-walkers",
        action="store_true",
        help="only walking people seen from the front in training images (a bias to study)",
    )
    parser.add_argument(
        "--preview", type=Path, help="only render a few people of each domain into this PNG"
    )
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
