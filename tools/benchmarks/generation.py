"""Measure fine-tuning and sampling of identities: images/s, memory, and whether the device waits.

    python tools/benchmarks/generation.py --device cuda --size sd1       # SD v1, random weights
    python tools/benchmarks/generation.py --device cpu --size miniature

Each of --persons has an adapter of its own; they share batches. Learning takes an image of each
person and one of the reference set in a step. Sampling counts up to the files. On the CPU seconds
are those of the process.
"""

import argparse

import torch

from fastreid_ext.command_line import short_errors
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from fastreid_ext.generation.sampling.sampler import SamplingSettings
from measuring.fine_tuning import measure_fine_tuning
from measuring.sampling import measure_sampling
from measuring.stable_diffusion import SIZES, random_base


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="sd1", help="which models (sd1)")
    parts = ("fine-tuning", "sampling")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="(both)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu (cuda)")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--tuning-steps", type=int, default=100, help="of all persons (100)")
    parser.add_argument("--checkpointing", action="store_true", help="activations twice")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps (20)")
    parser.add_argument("--guidance", type=float, default=7.5, help="1 = without (7.5)")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once (16)")
    parser.add_argument("--persons", type=int, default=8, help="adapters in use (8)")
    parser.add_argument("--images", type=int, default=20, help="of each identity (20)")
    parser.add_argument("--rank", type=int, default=8, help="of the adapters; 0 = without (8)")
    return parser.parse_args()


def learn(args: argparse.Namespace, base: StableDiffusion) -> None:
    settings = FineTuningSettings(
        rank=args.rank,
        alpha=args.rank,
        steps=args.tuning_steps,
        gradient_checkpointing=args.checkpointing,
    )
    size = SIZES[args.size]
    found = measure_fine_tuning(base, settings, persons=args.persons, size=size)
    busy = "" if found.busy is None else f", device busy {100 * found.busy:.1f} % of the time"
    print(
        f"{args.size} {size[0]}x{size[1]}, {args.persons} persons at once, rank {args.rank}, "
        f"{args.dtype} on {args.device}: {found.images_per_second:.2f} images/s learned, "
        f"{found.seconds_of_person(1000):.1f} s a person for 1000 steps, adapter read in "
        f"{1000 * found.seconds_of_switch:.0f} ms, peak {found.peak_bytes / 2**30:.2f} GiB{busy}"
    )


def sample(args: argparse.Namespace, base: StableDiffusion) -> None:
    sampling = SamplingSettings(
        size=SIZES[args.size],
        scheduler="DDIMScheduler",
        steps=args.steps,
        guidance_scale=args.guidance,
        negative_prompt="",
        batch_size=args.batch_size,
    )
    found = measure_sampling(
        base, sampling, persons=args.persons, images=args.images, rank=args.rank
    )
    height, width = sampling.size
    busy = "" if found.busy is None else f", device busy {100 * found.busy:.1f} % of the time"
    print(
        f"{args.size} {height}x{width}, {args.steps} steps, guidance {args.guidance:g}, batches of "
        f"{args.batch_size}, {args.dtype} on {args.device}: {found.images_per_second:.2f} images/s "
        f"({found.images} images; writing files is {100 * found.cost_of_files:.1f} % of the time), "
        f"peak {found.peak_bytes / 2**30:.2f} GiB{busy}"
    )


def main(args: argparse.Namespace) -> None:
    base = random_base(args.size, torch.device(args.device), getattr(torch, args.dtype))
    for part in args.parts:
        {"fine-tuning": learn, "sampling": sample}[part](args, base)


if __name__ == "__main__":
    with short_errors():
        main(parse())
