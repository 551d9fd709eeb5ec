r"""Convert pre-trained weights of any family to safetensors in the names of a backbone here.

    python tools/convert_weights.py lup_moco_r50.pth lup_r50.safetensors --normalisation luperson
    python tools/convert_weights.py solider_swin_tiny.pth solider.safetensors \
        MODEL.BACKBONE.NAME build_swin_backbone MODEL.BACKBONE.DEPTH tiny \
        MODEL.BACKBONE.SEMANTIC_WEIGHT 0.2

Tensors keep their values; the report says what was renamed and what was left out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import add_pairs, parse_command, run, tool_parser

# Keys of fastreid_ext.modeling.pretrained.normalisation.KNOWN.
NORMALISATIONS = ("clip", "half", "imagenet", "luperson")


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.atomic import atomic_write, expect_writable
    from fastreid_ext.config import load_config
    from fastreid_ext.modeling.build import build_backbone
    from fastreid_ext.modeling.pretrained import converted
    from fastreid_ext.modeling.pretrained.convert import expect_target
    from fastreid_ext.modeling.pretrained.normalisation import KNOWN

    expect_writable(expect_target(args.target, args.source))
    always = {"DEVICE": "cpu", "BACKBONE.PRETRAIN": "False", "BACKBONE.FEAT_DIM": "0"}
    overrides = [text for key, value in always.items() for text in (f"MODEL.{key}", value)]
    cfg = load_config(args.config_file, [*args.opts, *overrides])
    keys = cfg.MODEL.BACKBONE
    content, report = converted(
        build_backbone(cfg),
        args.source,
        family=keys.PRETRAIN_FAMILY,
        min_matched=keys.MIN_PRETRAIN_MATCHED,
        normalisation=KNOWN.get(args.normalisation),
    )
    with atomic_write(args.target) as file:
        file.write(content)
    print(report)
    for warning in report.warnings:
        print(f"warning: {warning}")
    print(f"wrote {len(report.matched)} tensors, {len(content) / 2**20:.1f} MiB, to {args.target}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("source", help="weight file, folder of a hub, or hf-hub:owner/name")
    parser.add_argument("target", type=Path, help="safetensors file to write")
    parser.add_argument("--config-file", default="", help="configuration whose backbone to use")
    parser.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        help="what the weights were trained with, where the file does not tell",
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
