r"""Replicate Diffusion-ReID in miniature: does pre-training on generated persons help?

    python -m projects.DiffusionReID.miniature.train_base --data datasets/miniature \
        --output logs/miniature/diffusion/base
    python -m projects.DiffusionReID.miniature.replicate --seeds 0 1 2

New images are generated of identities of RenderedCampus with few real images each. A ResNet-18 is
pre-trained on those that the filters or parts of the method under test leave, and AGW is fine-tuned
from it on the real images. The same command continues. Two processes may do different --seeds at
once; a last one with all of them makes the table. Results in --output: variants.json, variants.md,
variants.png. KEY VALUE pairs at the end hold for every step.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.command_line import short_errors
from fastreid_ext.deploy.filter_models import filter_models
from fastreid_ext.engine.results import commit, versions
from projects.DiffusionReID.miniature.captioned_persons import DOMAINS
from projects.DiffusionReID.miniature.generated_sets import GeneratedSets
from projects.DiffusionReID.miniature.pretraining_runs import PretrainingRuns, Start
from projects.DiffusionReID.miniature.variant_plot import plot_variants
from projects.DiffusionReID.miniature.variant_table import Measured, VariantTable, write_variants
from projects.DiffusionReID.miniature.variants import REFERENCE, VARIANTS, Variant
from tools.command import add_pairs, parse_command

CONFIGS = Path(__file__).resolve().parent / "configs"
PERSONS = "RenderedCampus"
SHARE = "few_shot_30"


def measure(args: argparse.Namespace, seed: int, key: str) -> Measured:
    """Do what is missing of a variant."""
    variant = VARIANTS[key]
    runs = runs_of(args, seed)
    start = start_of(args, seed, variant)
    pretrained = None if start is None else runs.pretrain(key, start, args.steps)
    return Measured(
        variant=variant.title,
        group=variant.group,
        seed=seed,
        images=pretrained.images if pretrained else 0,
        persons=pretrained.persons if pretrained else 0,
        pretrained=pretrained.metrics if pretrained else {},
        tuned=runs.tune(key, CONFIGS / "AGW.yml", pretrained and pretrained.weights),
    )


def start_of(args: argparse.Namespace, seed: int, variant: Variant) -> Start | None:
    """Return the images of a pre-training, generating them first if need be; None for none."""
    given: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    if variant.generated is not None:
        sets = sets_of(args, seed if args.images_of is None else args.images_of)
        given = ("DATASETS.GENERATED.ROOTS", f"['{sets.make(variant.generated, filter_models)}']")
        sources = ("GeneratedPersons",)
    if variant.base_images:
        recipe = CONFIGS / "pretrain_base_images.yml"
        return Start(recipe, (*sources, *DOMAINS), variant.base_images, given)
    if variant.real_images:
        return Start(CONFIGS / "pretrain_real.yml", (PERSONS,), SHARE)
    return Start(CONFIGS / "pretrain_generated.yml", sources, overrides=given) if sources else None


def runs_of(args: argparse.Namespace, seed: int) -> PretrainingRuns:
    return PretrainingRuns(
        output=args.output / f"seed{seed}" / "runs",
        persons=PERSONS,
        setting=SHARE,
        seed=seed,
        overrides=tuple(args.opts),
    )


def sets_of(args: argparse.Namespace, seed: int) -> GeneratedSets:
    """Describe the generated sets of a seed, after training the models of their filters."""
    runs = runs_of(args, seed)
    kinds = ("reid", "cctf")
    return GeneratedSets(
        recipe=CONFIGS / "generate.yml",
        base=args.base,
        output=args.output / f"seed{seed}",
        seed=seed,
        filters={kind: runs.train(f"filter_{kind}", CONFIGS / f"{kind}.yml") for kind in kinds},
        overrides=args.opts,
    )


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cells = [measure(args, seed, key) for seed in args.seeds for key in args.variants]
    order = [variant.title for variant in VARIANTS.values()]
    table = VariantTable(sorted(cells, key=lambda cell: (order.index(cell.variant), cell.seed)))
    about = {"commit": commit(), "versions": versions(), "steps": args.steps, "opts": args.opts}
    about["images_of"] = args.images_of
    write_variants(table, args.output, REFERENCE, about)
    title = f"AGW on few real images of {PERSONS}, pre-trained on"
    plot_variants(table, args.output / "variants.png", title=title)
    print(table.as_markdown(REFERENCE))
    print(f"{len(cells)} cells in {args.output}: variants.json, variants.md, variants.png")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    folder = Path("logs/miniature/diffusion")
    parser.add_argument("--output", type=Path, default=folder, help="folder of runs and results")
    parser.add_argument("--base", type=Path, default=folder / "base", help="the base models")
    parser.add_argument("--steps", type=int, default=300, help="of each pre-training (300)")
    parser.add_argument(
        "--images-of", type=int, help="train every seed on this one's images (its own)"
    )
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse(sys.argv[1:]))
