"""Draw an image under all corruptions at severities 1 to 5.

python tools/draw_corruptions.py --image person.jpg --output corruptions.png
python tools/draw_corruptions.py --dataset RenderedCampus --output corruptions.png \
    DATASETS.ROOT datasets
"""

import argparse
from pathlib import Path

import numpy as np

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.engine.inspection import expect_data_set
from fastreid_ext.evaluation.corruption.corrupted_images import test_images
from fastreid_ext.evaluation.pictures.corruption_sheet import draw_corruption_sheet
from fastreid_ext.pictures.png import expect_png


def main(args: argparse.Namespace) -> None:
    expect_png(args.output)
    path = args.image
    if path is None:
        cfg = load_config("", ["MODEL.DEVICE", "cpu", *args.opts])
        queries = test_images(cfg, expect_data_set(args.dataset)).files("query")
        name = np.random.default_rng(args.seed).choice(sorted(queries))
        path = queries[name]
    image = np.asarray(read_rgb(path))
    height, width = image.shape[:2]
    title = [f"{Path(path).name}, {width} x {height} pixels, seed {args.seed}"]
    picture = draw_corruption_sheet(image, args.output, seed=args.seed, title=title)
    print(f"wrote {picture}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", help="file")
    source.add_argument("--dataset", help="registered set; one of its queries")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seed", type=int, default=0, help="of corruptions and choice (0)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs of the config")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse())
