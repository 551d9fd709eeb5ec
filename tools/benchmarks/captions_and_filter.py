"""Measure captions and filters of a job: images/s, memory, and whether the device waits.

    python tools/benchmarks/captions_and_filter.py --device cuda --size sd1
    python tools/benchmarks/captions_and_filter.py --device cpu --size miniature --dtype float32

Models with random weights. Captions are one answer of up to 40 tokens a photograph: of BLIP-2 on
OPT-2.7b with 5 beams (sd1), or of the miniature BLIP. Filtering is that of the Re-ID filter, from
files of 256x128 to rows: of AGW with ResNet-50, or of the miniature's BoT. Fine-tuning and sampling
have tools/benchmarks/generation.py. On the CPU seconds are those of the process, and memory is its
most since it began: measure one of --parts at a time.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.deploy.filter_models import filter_models
from measuring.captioning import measure_captioning, save_random_captioner
from measuring.filtering import measure_filtering, save_random_reid, write_random_job
from measuring.stage_figures import StageFigures

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
REID = {"sd1": CONFIGS / "Base-AGW.yml", "miniature": CONFIGS / "miniature/diffusion/reid.yml"}
BEAMS = {"sd1": 5, "miniature": 1}


def describe(args: argparse.Namespace, folder: Path) -> StageFigures:
    place = {"device": torch.device(args.device), "dtype": getattr(torch, args.dtype)}
    save_random_captioner(args.size, folder / "captioner", **place)
    beams = BEAMS[args.size]
    return measure_captioning(folder / "captioner", images=args.images, beams=beams, **place)


def score(args: argparse.Namespace, folder: Path) -> StageFigures:
    keys = write_random_job(folder / "job", persons=40, images=args.images)
    config, weights = save_random_reid(REID[args.size], folder / "reid", keys)
    keys += ["MODEL.DEVICE", args.device, "GENERATION.FILTER.REID.CONFIG_FILE", str(config)]
    cfg = load_config("", [*keys, "GENERATION.FILTER.REID.WEIGHTS", str(weights)])
    return measure_filtering(cfg, filter_models(cfg))


PARTS = {"captions": describe, "filter": score}


def main(args: argparse.Namespace) -> None:
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](args, Path(folder))
        dtype = args.dtype if part == "captions" else "float32"
        busy = "" if found.busy is None else f", device busy {100 * found.busy:.1f} % of the time"
        print(
            f"{part}, {args.size}, {dtype} on {args.device}: {found.images_per_second:.1f} "
            f"images/s ({found.images} images), peak {found.peak_bytes / 2**30:.2f} GiB{busy}"
        )


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--size", choices=REID, default="sd1", help="which models (sd1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(both)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu (cuda)")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--images", type=int, default=64, help="to describe; of 40 persons (64)")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
