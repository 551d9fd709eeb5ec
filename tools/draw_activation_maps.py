"""Draw where images of a person resemble a reference image of the same person (Grad-CAM).

The score that is traced back is the cosine similarity of the two features. With MGN the maps of
the three branches are averaged; name other layers with --layer.

python tools/draw_activation_maps.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""  # noqa: E501  a command to copy

import argparse

from fastreid_ext.command_line import short_errors, show_loading
from fastreid_ext.data.sources import query_and_gallery
from fastreid_ext.engine.inspection import count, inspection, inspection_parser
from fastreid_ext.evaluation.pictures.activation_maps import draw_activation_maps


def main(args: argparse.Namespace) -> None:
    show_loading()
    look = inspection(args)
    items, _ = query_and_gallery(look.cfg, look.dataset)
    picture = draw_activation_maps(
        look.model(),
        items,
        look.transform(),
        look.output,
        name=look.dataset,
        identities=args.identities,
        cameras=args.cameras,
        seed=args.seed,
        layers=args.layer,
    )
    print(f"wrote {picture}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = inspection_parser(__doc__, "activation_maps")
    parser.add_argument("--identities", type=count, default=6, help="rows (6)")
    parser.add_argument("--cameras", type=count, default=5, help="images per row (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (0)")
    parser.add_argument(
        "--layer",
        action="append",
        default=[],
        help="module whose output map is looked at, e.g. backbone.layer3; may be given repeatedly",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
