"""Draw how similarity and Rank-1 depend on the pair of cameras.

python tools/draw_camera_bias.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""

import argparse

from fastreid_ext.command_line import short_errors, show_loading
from fastreid_ext.engine.inspection import add_features_argument, inspection, inspection_parser
from fastreid_ext.evaluation.camera_bias import camera_bias
from fastreid_ext.evaluation.camera_pairs import camera_pair_metrics
from fastreid_ext.evaluation.pictures.camera_bias import draw_camera_bias


def main(args: argparse.Namespace) -> None:
    show_loading()
    look = inspection(args)
    test = look.features()
    bias = camera_bias(test)
    metric = look.cfg.TEST.METRIC
    pairs = camera_pair_metrics(*test.split(test.features), *test.labels(), metric=metric)
    picture = draw_camera_bias(bias, pairs.rank1, look.output, name=look.dataset, metric=metric)
    print(
        f"wrote {picture}; most similar stranger of the query's own camera: "
        f"{100 * bias.nearest_same:.1f} % of the queries, by chance "
        f"{100 * bias.nearest_chance:.1f}; strangers are more similar by {bias.gap:.3f} at one "
        "camera than at two"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = inspection_parser(__doc__, "camera_bias")
    add_features_argument(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
