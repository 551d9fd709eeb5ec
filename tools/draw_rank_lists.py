"""Draw queries with their first gallery images: right ones framed green, wrong ones orange.

python tools/draw_rank_lists.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""

import argparse

from fastreid_ext.command_line import short_errors, show_loading
from fastreid_ext.engine.inspection import (
    add_features_argument,
    count,
    inspection,
    inspection_parser,
)
from fastreid_ext.evaluation.pictures.rank_lists import draw_rank_lists


def main(args: argparse.Namespace) -> None:
    show_loading()
    look = inspection(args)
    test, metric = look.features(), look.cfg.TEST.METRIC
    numbers = test.metrics(metric).percentages()
    shown = "drawn at random" if args.choice == "random" else f"of {args.choice} average precision"
    title = (
        f"{look.dataset}: {test.num_query} queries, {metric} distance, "
        f"Rank-1 {numbers['Rank-1']:.1f} %, mAP {numbers['mAP']:.1f} % (fastreid's rule)",
        f"{args.queries} queries {shown}; green: right, orange: wrong",
    )
    picture = draw_rank_lists(
        test,
        look.output,
        queries=args.queries,
        top=args.top,
        seed=args.seed,
        choice=args.choice,
        metric=metric,
        title=title,
    )
    print(f"wrote {picture}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = inspection_parser(__doc__, "rank_lists")
    add_features_argument(parser)
    parser.add_argument("--queries", type=count, default=8, help="rows (8)")
    parser.add_argument("--top", type=count, default=10, help="gallery images per row (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (0)")
    parser.add_argument("--choice", choices=("random", "worst", "best"), default="random")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
