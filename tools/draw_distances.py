"""Draw histograms of the distances of positive and negative pairs of a test set.

python tools/draw_distances.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""

import argparse

from fastreid_ext.command_line import short_errors, show_loading
from fastreid_ext.engine.inspection import add_features_argument, inspection, inspection_parser
from fastreid_ext.evaluation.pair_distances import pair_histograms
from fastreid_ext.evaluation.pictures.distances import draw_distances


def main(args: argparse.Namespace) -> None:
    show_loading()
    look = inspection(args)
    histograms = pair_histograms(look.features(), look.cfg.TEST.METRIC)
    picture = draw_distances(histograms, look.output, name=look.dataset)
    rate, threshold = histograms.equal_error_rate()
    print(f"wrote {picture}; equal error rate {100 * rate:.2f} % at {threshold:.3f}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = inspection_parser(__doc__, "distances")
    add_features_argument(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
