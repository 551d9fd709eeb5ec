"""Draw the curves of a run: losses and test metrics over iterations."""

import argparse
from pathlib import Path

from fastreid_ext.command_line import short_errors
from fastreid_ext.evaluation.pictures.training import plot_training


def main(args: argparse.Namespace) -> None:
    output = args.output or args.run / "curves.png"
    print(f"wrote {plot_training(args.run / 'metrics.json', output)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of a run")
    parser.add_argument("--output", type=Path, help="PNG to write; default: curves.png in the run")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
