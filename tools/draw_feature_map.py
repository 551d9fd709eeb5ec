"""Draw the features of some persons of a test set on a plane (t-SNE).

python tools/draw_feature_map.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""

import argparse

from fastreid_ext.command_line import short_errors, show_loading
from fastreid_ext.engine.inspection import (
    add_features_argument,
    count,
    inspection,
    inspection_parser,
)
from fastreid_ext.evaluation.pictures.feature_map import draw_feature_map


def main(args: argparse.Namespace) -> None:
    show_loading()
    look = inspection(args)
    picture = draw_feature_map(
        look.features(),
        look.output,
        name=look.dataset,
        identities=args.identities,
        seed=args.seed,
        thumbnails=args.thumbnails,
    )
    print(f"wrote {picture}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = inspection_parser(__doc__, "feature_map")
    add_features_argument(parser)
    parser.add_argument("--identities", type=count, default=14, help="persons (14)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and of t-SNE (0)")
    parser.add_argument("--thumbnails", action="store_true", help="images instead of markers")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
