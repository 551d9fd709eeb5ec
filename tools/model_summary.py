r"""Print the parameters of a model by part, from its configuration alone: no weights, no data.

    python tools/model_summary.py --config-file configs/Market1501/mgn_R50-ibn.yml
    python tools/model_summary.py --config-file configs/Market1501/bagtricks_R50.yml \
        --vary MODEL.BACKBONE.DEPTH 18x 34x 50x

Features depend on what is "kept in evaluation": no classifier, no part that is only for training.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from command import add_pairs, count, parse_command, run, tool_parser

if TYPE_CHECKING:
    from fastreid_ext.engine.model_summary import ModelSummary, ParameterCount


def main(args: argparse.Namespace) -> None:
    if args.vary:
        _print_varied(args)
        return
    summary = _summary(args)
    rows = [[name, *_millions(part)] for name, part in summary.parts.items()]
    rows.append(["all", *_millions(summary.whole)])
    rows.append(["kept in evaluation", *_millions(summary.kept)])
    _print_table(["part", "trained M", "frozen M", "total M"], rows)


def _print_varied(args: argparse.Namespace) -> None:
    """Print a row for each value; the values of one key do not meet those of another."""
    rows = []
    for key, *values in args.vary:
        for value in values:
            summary = _summary(args, key, value)
            kept = f"{summary.kept.trained / 1e6:.2f}"
            rows.append([f"{key} {value}", *_millions(summary.whole), kept])
    heads = ["model", "trained M", "frozen M", "total M", "trained, kept in evaluation M"]
    _print_table(heads, rows)


def _summary(args: argparse.Namespace, *pair: str) -> "ModelSummary":
    from fastreid_ext.engine.model_summary import configuration_on_meta, summarise

    pairs = [*args.opts, *pair]
    return summarise(
        configuration_on_meta(args.config_file, pairs, identities=args.identities),
    )


def _millions(part: "ParameterCount") -> list[str]:
    return [f"{number / 1e6:.2f}" for number in (part.trained, part.frozen, part.total)]


def _print_table(heads: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table in columns of equal width, names to the left, numbers to the right."""
    first, *others = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = [":".ljust(first, "-"), *(":".rjust(width, "-") for width in others)]
    for name, *numbers in [heads, rule, *rows]:
        cells = [number.rjust(width) for number, width in zip(numbers, others, strict=True)]
        print(f"| {' | '.join([name.ljust(first), *cells])} |")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, help="of the model, as in train_net.py")
    parser.add_argument(
        "--identities",
        type=count,
        help="training identities; default: those of the configuration, or Market-1501's 751",
    )
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="print one row for each value of a key; may be repeated",
    )
    add_pairs(parser)
    args = parse_command(parser, arguments)
    for words in args.vary:
        if len(words) < 2:
            parser.error(f"expected --vary KEY VALUE ..., got no value of {words[0]}")
    return args


if __name__ == "__main__":
    run(main, parse())
