"""Write few-shot and small-scale lists of a training set, without training.

    python tools/make_subset.py few_shot_10 few_shot_30 small_scale_10_seed1 \
        --data-set Market1501 --opts DATASETS.ROOT datasets

They go where DATASETS.SUBSET looks for them, or to --output; a list that exists is kept.
"""

import argparse
import logging
from pathlib import Path

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.config.data_settings import SubsetSetting, parse_subset
from fastreid_ext.data.sources import write_subset_lists


def setting(text: str) -> SubsetSetting:
    """``few_shot_10`` as a setting; argparse shows the error."""
    try:
        parsed = parse_subset(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not isinstance(parsed, SubsetSetting):
        raise argparse.ArgumentTypeError(f"expected a setting such as few_shot_10, got {text!r}")
    return parsed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="+", type=setting, metavar="SETTING")
    parser.add_argument("--data-set", required=True, help="registered name, e.g. Market1501")
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--output", type=Path, help="folder for the lists")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="keys to change")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    names = ["DATASETS.NAMES", f"('{args.data_set}',)", "DATASETS.SUBSET", ""]
    without_model = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    cfg = load_config(args.config_file, [*args.opts, *names, *without_model])
    files = list(write_subset_lists(cfg, args.data_set, args.settings, args.output))
    written = sum(is_new for _, is_new in files)
    print(f"{written} lists written, {len(files) - written} were there: {files[0][0].parent}")


if __name__ == "__main__":
    with short_errors():
        main()
