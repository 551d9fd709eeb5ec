r"""Compare models on corrupted images over their seeds: one table, one picture.

    python tools/compare_corruption.py --model AGW logs/robust/AGW_seed?/corruption \
        --model AGW+CIL logs/robust/AGW_CIL_seed?/corruption --output logs/robust/comparison

Each --model is a name and the folders that tools/evaluate_corruption.py wrote, one for each seed,
all with the same --index. --output then holds comparison.json, comparison.md and comparison.png.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from command import parse_command, run, tool_parser


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.atomic import atomic_write_text, expect_writable
    from fastreid_ext.evaluation.corruption.comparison import compare
    from fastreid_ext.evaluation.pictures.corruption_comparison import plot_comparison

    comparison = compare({name: [Path(f) for f in folders] for name, *folders in args.model})
    expect_writable(args.output, is_folder=True)
    content = json.dumps(comparison.as_json(), indent=1) + "\n"
    atomic_write_text(args.output / "comparison.json", content)
    atomic_write_text(args.output / "comparison.md", comparison.as_markdown())
    plot_comparison(comparison, args.output / "comparison.png")
    print(comparison.as_markdown())
    print(f"{len(comparison.models)} models in {args.output}/comparison.md")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--model",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "FOLDER"),
        help="name, then one finished evaluation per seed; may be repeated",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of results")
    args = parse_command(parser, arguments)
    names = [name for name, *_ in args.model]
    if len(set(names)) < len(names):
        parser.error(f"expected each --model once, got {', '.join(names)}; give all its folders")
    return args


if __name__ == "__main__":
    run(main, parse())
