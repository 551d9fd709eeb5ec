"""Train or evaluate a model: fastreid's flags, on CPU and GPUs, alone, under torchrun or srun.

    python tools/train_net.py --config-file configs/smoke/bagtricks.yml MODEL.DEVICE cpu
    python tools/train_net.py --config-file ... --resume
    python tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS logs/model_final.pth
    python tools/train_net.py --config-file ... --num-gpus 4
    torchrun --nproc-per-node 4 tools/train_net.py --config-file ...
    srun --ntasks-per-node 4 --gpus-per-node 4 python tools/train_net.py --config-file ...

Exit codes: 0 done, 1 error, 2 the data are unfit for training or the command is wrong, 130
interrupted.
"""

import argparse
from collections.abc import Sequence

from command import add_pairs, parse_command, run, tool_parser


def train_or_evaluate(args: argparse.Namespace) -> None:
    """Do the work of one process."""
    from fastreid_ext.command_line import short_errors
    from fastreid_ext.engine import evaluate, train
    from fastreid_ext.engine.setup import run_configuration
    from fastreid_ext.evaluation.ranking import column_title

    cfg = run_configuration(args)
    with short_errors():  # here too: a spawned process ends with its own message
        results = evaluate(cfg) if args.eval_only else train(cfg, resume=args.resume)
    for name, metrics in results.items():
        line = "  ".join(f"{column_title(key)} {value:.2f}" for key, value in metrics.items())
        print(f"{name}: {line}  ({cfg.OUTPUT_DIR})")


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.engine.launch import launch
    from fastreid_ext.engine.setup import run_configuration

    cfg = run_configuration(args)  # mistakes show before processes start
    launch(
        train_or_evaluate,
        (args,),
        device=cfg.MODEL.DEVICE,
        processes=args.num_gpus,
        machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse fastreid's options; the address of the processes is a free port, not a fixed one."""
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", default="", metavar="FILE", help="local YAML file")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine (1)")
    parser.add_argument("--num-machines", type=int, default=1, help="machines of the run (1)")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine (0)")
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="tcp://HOST:PORT",
        help="address of machine 0; by default a free port of this machine",
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
