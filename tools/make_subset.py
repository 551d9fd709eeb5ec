r"""Write few-shot and small-scale lists of a training set, without training.

    python tools/make_subset.py few_shot_10 few_shot_30 small_scale_10_seed1 \
        --data-set Market1501 DATASETS.ROOT datasets

They go where DATASETS.SUBSET looks for them, or to --output; a list that exists is kept.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from command import add_pairs, parse_command, run, tool_parser


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.config import load_config
    from fastreid_ext.data.configured_sets import write_subset_lists
    from fastreid_ext.data.own_sets import SubsetSetting, parse_subset

    settings = [parse_subset(text) for text in args.settings]
    for text, setting in zip(args.settings, settings, strict=True):
        if not isinstance(setting, SubsetSetting):
            raise ValueError(f"expected a setting such as few_shot_10, got {text!r}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    names = ["DATASETS.NAMES", f"('{args.data_set}',)", "DATASETS.SUBSET", ""]
    without_model = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    cfg = load_config(args.config_file, [*args.opts, *names, *without_model])
    files = list(write_subset_lists(cfg, args.data_set, settings, args.output))
    written = sum(is_new for _, is_new in files)
    print(f"{written} lists written, {len(files) - written} were there: {files[0][0].parent}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("settings", nargs="+", metavar="SETTING", help="for example few_shot_10")
    parser.add_argument("--data-set", required=True, help="registered name, e.g. Market1501")
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--output", type=Path, help="folder for the lists")
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
