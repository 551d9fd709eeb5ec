"""Write a model as ONNX: images (batch, 3, H, W) RGB in [0, 255] to features (batch, D).

Mean and standard deviation are inside the graph. The file is compared with torch before it is
written, on random images and on those of --images.

python tools/export_onnx.py --config-file configs/demo.yml --weights demo/train/model_final.pth
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import add_pairs, parse_command, run, tool_parser

_CHECKED = 16


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.command_line import show_loading
    from fastreid_ext.deploy.feature_extractor import image_files
    from fastreid_ext.deploy.onnx_export import export_onnx

    show_loading()
    output = args.output or Path(args.weights).with_suffix(".onnx")
    images = [args.images / name for name in image_files(args.images)] if args.images else []
    images = images[:: max(1, len(images) // _CHECKED)][:_CHECKED]
    report = export_onnx(
        args.config_file,
        args.weights,
        output,
        images=images,
        uint8=args.uint8,
        flip=True if args.flip else None,
        tolerance=args.tolerance,
        overrides=args.opts,
    )
    print(f"wrote {report}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, help="recipe, or config.yaml of a run")
    parser.add_argument("--weights", required=True, help="checkpoint of that configuration")
    parser.add_argument("--output", type=Path, help="default: the checkpoint's name with .onnx")
    parser.add_argument(
        "--images", type=Path, help=f"folder; {_CHECKED} of its images are compared"
    )
    parser.add_argument("--uint8", action="store_true", help="take uint8 images, not float32")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="largest difference accepted, as a share of the largest feature value (1e-4)",
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
