r"""Test a checkpoint on corrupted images: CIL's ten repeats, and with --grid each corruption alone.

    python tools/evaluate_corruption.py --config-file configs/demo.yml --grid \
        --weights demo/train/model_final.pth --dataset RenderedCampus --output demo/corruption
    torchrun --nproc-per-node 8 tools/evaluate_corruption.py ...   # or srun: shares the work

The first call samples the index, which lists the corruption, severity and seed of each image;
others who pass it with --index test the same pixels. --pixels keeps hashes of the pixels next to
the index, so that later evaluations report how many differ. --baseline takes the corruption.json of
another evaluation and adds mCE. The same command continues an interrupted evaluation. With
--shard a machine does a part; whichever ends last writes the results. DATALOADER.PACKED_CACHE saves
decoding each image for each part.

Both sides are corrupted, CIL's protocol. Of visible-infrared sets the visible side is (-C), after
the resize to the network's size; --corrupt both is -C*, without saturate on infrared images.
--output then holds corruption.json, corruption.md, repeats.png and, with --grid, heat_map.png and
drops.png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import add_pairs, count, parse_command, run, shard, tool_parser

SIDES = ("query", "gallery", "both", "visible")


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.command_line import show_loading
    from fastreid_ext.engine.corruption_run import CorruptionRun, evaluate_corruption
    from fastreid_ext.engine.inspection import (
        checkpoint_and_test_set,
        configuration_of_checkpoint,
    )
    from fastreid_ext.engine.launch import use_device
    from fastreid_ext.ranks import read_ranks

    show_loading()
    cfg = configuration_of_checkpoint(args)
    ranks = read_ranks()
    use_device(cfg.MODEL.DEVICE, ranks)
    weights, dataset = checkpoint_and_test_set(cfg, args.weights, args.dataset)
    settings = CorruptionRun(
        weights=weights,
        dataset=dataset,
        output=args.output,
        index=args.index,
        repeats=args.repeats,
        grid=args.grid,
        corrupt=args.corrupt or "",
        seed=args.seed,
        baseline=args.baseline,
        pixels=args.pixels,
        shard=ranks.share_of(args.shard),
    )
    results = evaluate_corruption(cfg, settings)
    if isinstance(results, list):
        print(
            f"{len(results)} parts are left to other shards ({results[0]}, ...); the last of them "
            f"writes the results, or this command without --shard  ({args.output})"
        )
        return
    print(results.as_markdown())
    print(f"{results.one_line()}  ({args.output})")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, help="of the model, as in train_net.py")
    parser.add_argument("--weights", help="checkpoint; default: MODEL.WEIGHTS")
    parser.add_argument("--dataset", help="test set; default: the first of DATASETS.TESTS")
    parser.add_argument("--output", type=Path, required=True, help="folder of results")
    parser.add_argument(
        "--index",
        type=Path,
        metavar="FILE",
        help="made if missing; .jsonl or .jsonl.gz; default: corruption_index.jsonl in --output",
    )
    parser.add_argument("--repeats", type=count, default=10, help="repeats of the index (10)")
    parser.add_argument("--grid", action="store_true", help="also every corruption x severity")
    parser.add_argument("--corrupt", choices=SIDES, help="side; default: both, or visible")
    parser.add_argument("--seed", type=int, default=0, help="of an index that is made (0)")
    parser.add_argument("--baseline", type=Path, metavar="JSON", help="for mCE; needs --grid")
    parser.add_argument("--pixels", action="store_true", help="keep hashes of the pixels")
    shards = {"metavar": "INDEX/COUNT", "help": "only every COUNT-th part, from INDEX on"}
    parser.add_argument("--shard", type=shard, default=(0, 1), **shards)
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
