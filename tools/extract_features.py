r"""Write the features of all images below a folder to a .npz or .safetensors file.

Images are read and resized as in the evaluation. Read the file with
fastreid_ext.deploy.read_features, or with numpy or safetensors alone.

python tools/extract_features.py --config-file configs/demo.yml \
    --weights demo/train/model_final.pth --folder crops --output crops.npz

One feature a tracklet, where each has a folder: add --pool-by "(.*)/".
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from command import add_pairs, parse_command, run, tool_parser

_NAMED = 20  # unreadable images


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.atomic import expect_writable
    from fastreid_ext.command_line import show_loading
    from fastreid_ext.deploy import FeatureExtractor, write_features
    from fastreid_ext.deploy.features_file import expect_format
    from fastreid_ext.deploy.pooling import pool_features

    expect_writable(expect_format(args.output))
    show_loading()
    extractor = FeatureExtractor(
        args.config_file,
        args.weights,
        device=args.device,
        flip=True if args.flip else None,
        overrides=args.opts,
    )
    result = extractor.folder(
        args.folder, skip_unreadable=args.skip_unreadable, workers=args.workers, progress=True
    )
    for reason in list(result.unreadable.values())[:_NAMED]:
        print(f"left out: {reason}", file=sys.stderr)
    if args.pool_by:
        result = pool_features(result, args.pool_by)
    write_features(result, args.output)
    count, dimension = result.features.shape
    print(
        f"wrote {args.output}: features ({count}, {dimension}), "
        f"{len(result.unreadable)} unreadable images left out"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, help="recipe, or config.yaml of a run")
    parser.add_argument("--weights", required=True, help="checkpoint of that configuration")
    parser.add_argument("--folder", required=True, type=Path, help="of images, with subfolders")
    parser.add_argument("--output", required=True, type=Path, help=".npz or .safetensors")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: MODEL.DEVICE")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--workers", type=int, help="loader processes; default: TEST.NUM_WORKERS")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave such images out")
    parser.add_argument(
        "--pool-by", metavar="PATTERN", help="average images whose paths agree in its groups"
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
