"""Train or evaluate a model: fastreid's flags, on CPU and GPUs, alone, under torchrun or srun.

    python tools/train_net.py --config-file configs/smoke/bagtricks.yml MODEL.DEVICE cpu
    python tools/train_net.py --config-file ... --resume
    python tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS logs/model_final.pth
    python tools/train_net.py --config-file ... --num-gpus 4
    torchrun --nproc-per-node 4 tools/train_net.py --config-file ...
    srun --ntasks-per-node 4 --gpus-per-node 4 python tools/train_net.py --config-file ...

Exit codes: 0 done, 1 error, 2 the data are unfit for training, 130 interrupted.
"""

import argparse

import fastreid_ext  # noqa: F401  at module level, so that spawned processes repair fastreid too
from fastreid_ext.command_line import short_errors
from fastreid_ext.engine import evaluate, train
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.setup import argument_parser, run_configuration
from fastreid_ext.evaluation.ranking import column_title


def main(args: argparse.Namespace) -> None:
    cfg = run_configuration(args)
    with short_errors():  # here too: a spawned process ends with its own message
        results = evaluate(cfg) if args.eval_only else train(cfg, resume=args.resume)
    for name, metrics in results.items():
        line = "  ".join(f"{column_title(key)} {value:.2f}" for key, value in metrics.items())
        print(f"{name}: {line}  ({cfg.OUTPUT_DIR})")


def run(args: argparse.Namespace) -> None:
    cfg = run_configuration(args)  # mistakes show before processes start
    launch(
        main,
        (args,),
        device=cfg.MODEL.DEVICE,
        processes=args.num_gpus,
        machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )


if __name__ == "__main__":
    with short_errors():
        run(argument_parser().parse_args())
