"""Check the data of a configuration without training; exits with 2 and the reasons if unusable.

Every image is decoded; `DATASETS.PREFLIGHT headers` at the end opens the files only.

python tools/check_data.py --config-file configs/smoke/bagtricks.yml DATASETS.ROOT datasets
"""

import argparse
import logging
from collections.abc import Sequence

from command import add_pairs, parse_command, run, tool_parser


def main(args: argparse.Namespace) -> int:
    from fastreid_ext.config import load_config
    from fastreid_ext.data.configured_sets import dataset_root
    from fastreid_ext.data.datasets.generated_persons import locate_set
    from fastreid_ext.data.preflight import preflight
    from fastreid_ext.manifest import verify_set

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Data can be looked at without the GPU and the weights that training needs.
    without_model = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    every_image = ["DATASETS.PREFLIGHT", "full"]
    cfg = load_config(args.config_file, [*every_image, *args.opts, *without_model])
    report = preflight(cfg, world_size=args.num_gpus)
    if args.hashes:
        for folder in cfg.DATASETS.GENERATED.ROOTS:
            report.problems += verify_set(locate_set(folder, dataset_root(cfg)))
    print(report)
    print(
        f"{'ok' if report.ok else 'not usable'}: {len(report.problems)} problems, "
        f"{len(report.warnings)} warnings"
    )
    return 0 if report.ok else 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes the training will have")
    parser.add_argument(
        "--hashes", action="store_true", help="also compare generated images with their sha256"
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
