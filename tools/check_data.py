"""Check the data of a configuration without training; exits with 2 and the reasons if unusable.

python tools/check_data.py --config-file configs/smoke/bagtricks.yml DATASETS.ROOT datasets
"""

import argparse
import logging
import sys

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.data.datasets.generated_persons import locate_set
from fastreid_ext.data.preflight import preflight
from fastreid_ext.data.sources import dataset_root
from fastreid_ext.manifest import verify_set


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes the training will have")
    parser.add_argument(
        "--hashes", action="store_true", help="also compare generated images with their sha256"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Data can be looked at without the GPU and the weights that training needs.
    without_model = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    cfg = load_config(args.config_file, [*args.opts, *without_model])
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


if __name__ == "__main__":
    with short_errors():
        sys.exit(main())
