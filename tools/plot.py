r"""Plot what a model or a run does; every command writes one PNG.

    python tools/plot.py rank-lists --config-file configs/demo.yml \
        --weights demo/train/model_final.pth
    python tools/plot.py training logs/smoke/bagtricks

Pictures of a model are <command>_<dataset>.png next to its checkpoint, or --output.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import (
    add_checkpoint_arguments,
    add_command,
    add_pairs,
    count,
    expect_configuration,
    parse_command,
    run,
    tool_parser,
)


def rank_lists(args: argparse.Namespace) -> None:
    """Queries with their first gallery images: right ones framed green, wrong ones orange."""
    from fastreid_ext.engine.inspection import inspection
    from fastreid_ext.evaluation.pictures.rank_lists import plot_rank_lists

    look = inspection(args)
    test = look.features()
    metric = look.cfg.TEST.METRIC
    numbers = test.metrics(metric).percentages()
    shown = "chosen at random" if args.choice == "random" else f"of {args.choice} average precision"
    title = (
        f"{look.dataset}: {test.num_query} queries, {metric} distance, "
        f"Rank-1 {numbers['Rank-1']:.1f} %, mAP {numbers['mAP']:.1f} % (fastreid's rule)",
        f"{args.queries} queries {shown}; green: right, orange: wrong",
    )
    picture = plot_rank_lists(
        test,
        look.output,
        queries=args.queries,
        top=args.top,
        seed=args.seed,
        choice=args.choice,
        metric=metric,
        title=title,
    )
    print(f"wrote {picture}")


def activation_maps(args: argparse.Namespace) -> None:
    """Activation maps: where images resemble a reference image of their identity (Grad-CAM).

    Grad-CAM explains the cosine similarity of the two features. With MGN the maps of the three
    branches are averaged; name other layers with --layer. With --second-weights a second model
    looks at the same images: image, map of the first, map of the second.
    """
    from fastreid_ext.data.configured_sets import query_and_gallery
    from fastreid_ext.engine.inspection import inspection
    from fastreid_ext.evaluation.pictures.activation_maps import MappedModel, plot_activation_maps

    looks = [inspection(args)]
    if args.second_weights:
        config_file = args.second_config_file or args.config_file
        second = {"config_file": config_file, "weights": args.second_weights}
        looks.append(inspection(argparse.Namespace(**vars(args) | second)))
    first = looks[0]
    names = args.names or [look.weights.parent.name for look in looks]
    models = [
        MappedModel(look.model(), look.transform(), name, args.layer)
        for look, name in zip(looks, names, strict=True)
    ]
    items, _ = query_and_gallery(first.cfg, first.dataset)
    picture = plot_activation_maps(
        models,
        items,
        first.output,
        name=first.dataset,
        identities=args.identities,
        cameras=args.cameras,
        seed=args.seed,
    )
    print(f"wrote {picture}")


def feature_map(args: argparse.Namespace) -> None:
    """Features of some identities of a test set on a plane (t-SNE)."""
    from fastreid_ext.engine.inspection import inspection
    from fastreid_ext.evaluation.pictures.feature_map import plot_feature_map

    look = inspection(args)
    picture = plot_feature_map(
        look.features(),
        look.output,
        name=look.dataset,
        identities=args.identities,
        seed=args.seed,
        thumbnails=args.thumbnails,
    )
    print(f"wrote {picture}")


def distances(args: argparse.Namespace) -> None:
    """Histograms of the distances of positive and negative pairs of a test set."""
    from fastreid_ext.engine.inspection import inspection
    from fastreid_ext.evaluation.pair_distances import pair_histograms
    from fastreid_ext.evaluation.pictures.distances import plot_distances

    look = inspection(args)
    histograms = pair_histograms(look.features(), look.cfg.TEST.METRIC)
    picture = plot_distances(histograms, look.output, name=look.dataset)
    rate, threshold = histograms.equal_error_rate()
    print(f"wrote {picture}; equal error rate {100 * rate:.2f} % at {threshold:.3f}")


def camera_bias(args: argparse.Namespace) -> None:
    """How similarity and Rank-1 depend on the pair of cameras."""
    from fastreid_ext.engine.inspection import inspection
    from fastreid_ext.evaluation.camera_bias import camera_bias as bias_of
    from fastreid_ext.evaluation.camera_pairs import camera_pair_metrics
    from fastreid_ext.evaluation.pictures.camera_bias import plot_camera_bias

    look = inspection(args)
    test = look.features()
    bias = bias_of(test)
    metric = look.cfg.TEST.METRIC
    pairs = camera_pair_metrics(*test.split(test.features), *test.labels(), metric=metric)
    picture = plot_camera_bias(bias, pairs.rank1, look.output, name=look.dataset, metric=metric)
    print(
        f"wrote {picture}; most similar negative is of the query's own camera for "
        f"{100 * bias.nearest_same:.1f} % of the queries, by chance "
        f"{100 * bias.nearest_chance:.1f}; negatives are more similar by {bias.gap:.3f} within one "
        "camera than across two"
    )


def corruptions(args: argparse.Namespace) -> None:
    """One image under all corruptions at severities 1 to 5."""
    import numpy as np

    from fastreid_ext.config import load_config
    from fastreid_ext.data.dataset import read_rgb
    from fastreid_ext.engine.inspection import expect_data_set
    from fastreid_ext.evaluation.corruption.corrupted_images import test_images
    from fastreid_ext.evaluation.pictures.corruption_sheet import plot_corruption_sheet
    from fastreid_ext.pictures.png import expect_png

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
    picture = plot_corruption_sheet(image, args.output, seed=args.seed, title=title)
    print(f"wrote {picture}")


def training(args: argparse.Namespace) -> None:
    """Curves of a run: losses and test metrics over iterations."""
    from fastreid_ext.evaluation.pictures.training import plot_training

    output = args.output or args.run / "curves.png"
    print(f"wrote {plot_training(args.run / 'metrics.json', output)}")


def clusters(args: argparse.Namespace) -> None:
    """Clusters of a run without labels: their number and noise, their images, their cameras.

    Three pictures in the folder of the run: clusters.png, cluster_sheet.png, cluster_cameras.png.
    """
    import numpy as np

    from fastreid_ext.evaluation.cluster_file import CLUSTERS_FILE, read_clusters
    from fastreid_ext.evaluation.pictures.clusters import (
        plot_camera_mix,
        plot_cluster_curves,
        plot_cluster_sheet,
    )

    images = read_clusters(args.run / CLUSTERS_FILE)
    folder = args.output or args.run
    true = None if images.identities is None else len(np.unique(images.identities))
    pictures = [
        plot_cluster_curves(args.run / "metrics.json", folder / "clusters.png", identities=true),
        plot_cluster_sheet(
            images, folder / "cluster_sheet.png", rows=args.rows, columns=args.columns
        ),
        plot_camera_mix(images, folder / "cluster_cameras.png"),
    ]
    print("wrote " + ", ".join(map(str, pictures)))


def gates(args: argparse.Namespace) -> None:
    """Gates of batch-instance normalisation (MetaBIN) by layer: mean and middle half."""
    from fastreid_ext.engine.checkpoint import read_checkpoint
    from fastreid_ext.evaluation.pictures.gates import plot_gates

    output = args.output or args.weights.with_name("gates.png")
    checkpoint = read_checkpoint(args.weights)
    weights = checkpoint.get("model", checkpoint)
    print(f"wrote {plot_gates(weights, output, title=str(args.weights))}")


def prompts(args: argparse.Namespace) -> None:
    """Similarity of learned identity prompts, beside that of what the identities look like.

    Each RUN was trained with MODEL.DIFFUSION, condition correlation or class. Looks are the
    prototypes of its memory; without one they are computed from the training images, which KEY
    VALUE pairs such as DATASETS.ROOT can place. Identities that look alike stand side by side.
    """
    from fastreid_ext.engine.identity_prompts import identity_prompts
    from fastreid_ext.evaluation.identity_prompts import prompt_similarity
    from fastreid_ext.evaluation.pictures.prompts import plot_prompts
    from fastreid_ext.pictures.png import expect_png

    output = expect_png(args.output or args.runs[0] / "prompts.png")
    similarities = {}
    for run_folder in args.runs:
        learned = identity_prompts(run_folder, args.opts)
        similarity = prompt_similarity(*learned, permutations=args.permutations, seed=args.seed)
        similarities[str(run_folder)] = similarity
        print(f"{run_folder}: {len(similarity.order)} identities, {similarity.test}")
    print(f"wrote {plot_prompts(similarities, output)}")


def body_maps(args: argparse.Namespace) -> None:
    """Bodies with their depth, normals and skeleton, or the body fits of a set over its images.

    Poses come from --poses: gait, unusual, or files of AMASS, AIST++, 4D-Humans. With --fits rows
    are images of a set: its folder, or a file of fits, whose images are in --images.
    """
    from fastreid_ext.bodies.body_fits import BodyFits
    from fastreid_ext.bodies.body_model import load_body
    from fastreid_ext.bodies.map_sheet import bank_rows, fit_rows, plot_map_sheet
    from fastreid_ext.pictures.png import expect_png

    expect_png(args.output)
    body = load_body(args.body)
    if args.fits is None:
        rows = bank_rows(args.poses, args.rows, body, tuple(args.size), args.seed)
        title = f"poses of {', '.join(map(str, args.poses))}, seed {args.seed}"
    else:
        folder = args.images or (args.fits if args.fits.is_dir() else args.fits.parent)
        fits = BodyFits.read(args.fits)
        rows = fit_rows(fits, folder, args.rows)
        title = f"{len(rows)} of the {len(fits)} fits of {args.fits}"
    print(f"wrote {plot_map_sheet(rows, body, args.output, [title])}")


OF_FEATURES = {
    "rank-lists": rank_lists,
    "feature-map": feature_map,
    "distances": distances,
    "camera-bias": camera_bias,
}
OF_MODEL = OF_FEATURES | {"activation-maps": activation_maps}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    of_model = {name: add_command(commands, name, plot) for name, plot in OF_MODEL.items()}
    for name, command in of_model.items():
        _add_model_options(name, command)
    _add_own_options(of_model)
    _add_corruptions(add_command(commands, "corruptions", corruptions))
    run_curves = add_command(commands, "training", training)
    run_curves.add_argument("run", type=Path, help="OUTPUT_DIR of a run")
    run_curves.add_argument("--output", type=Path, help="PNG; default: curves.png in the run")
    _add_clusters(add_command(commands, "clusters", clusters))
    of_gates = add_command(commands, "gates", gates)
    of_gates.add_argument("weights", type=Path, help="checkpoint of a run with MODEL.BIN")
    of_gates.add_argument("--output", type=Path, help="PNG; default: gates.png beside it")
    _add_prompts(add_command(commands, "prompts", prompts))
    _add_body_maps(add_command(commands, "body-maps", body_maps))
    args = parse_command(parser, arguments)
    if args.command == "activation-maps":
        _expect_second_model(parser, args)
    return args


def _expect_second_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.second_weights and (args.second_config_file or args.names):
        parser.error("expected --second-weights, the checkpoint of the second model; got none")
    expect_configuration(args.second_config_file)


def _add_model_options(name: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of a picture of a model and a test set."""
    picture = name.replace("-", "_")
    parser.set_defaults(picture=picture, features=None)
    add_checkpoint_arguments(parser)
    parser.add_argument(
        "--output", type=Path, help=f"PNG; default: {picture}_<dataset>.png next to the checkpoint"
    )
    if name in OF_FEATURES:
        parser.add_argument(
            "--features",
            type=Path,
            metavar="NPZ",
            help="keep the features of the test set in this file, and plot from it the next time",
        )


def _add_own_options(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add the options that one picture has alone."""
    for name in ("rank-lists", "activation-maps", "feature-map"):
        parsers[name].add_argument(
            "--seed", type=int, default=0, help="seed of the random choice (0)"
        )
    lists = parsers["rank-lists"]
    lists.add_argument("--queries", type=count, default=8, help="number of rows (8)")
    lists.add_argument("--top", type=count, default=10, help="gallery images per row (10)")
    lists.add_argument("--choice", choices=("random", "worst", "best"), default="random")
    maps = parsers["activation-maps"]
    maps.add_argument("--identities", type=count, default=6, help="number of rows (6)")
    maps.add_argument("--cameras", type=count, default=5, help="images per row (5)")
    maps.add_argument(
        "--layer",
        action="append",
        default=[],
        help="module whose output gives the map, e.g. backbone.layer3; may be repeated",
    )
    maps.add_argument("--second-weights", help="checkpoint of a model to compare with")
    maps.add_argument("--second-config-file", help="of that model; default: --config-file")
    maps.add_argument(
        "--names",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="short names of the two models; default: the folders of their checkpoints",
    )
    plane = parsers["feature-map"]
    plane.add_argument("--identities", type=count, default=14, help="number of identities (14)")
    plane.add_argument("--thumbnails", action="store_true", help="show images instead of markers")


def _add_corruptions(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", help="image file")
    source.add_argument("--dataset", help="registered set, to take one of its queries")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of corruptions and of the choice (0)"
    )
    add_pairs(parser)


def _add_clusters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of a run")
    parser.add_argument("--output", type=Path, help="folder of the pictures; default: the run")
    parser.add_argument("--rows", type=count, default=4, help="clusters of each kind (4)")
    parser.add_argument("--columns", type=count, default=10, help="images of a cluster (10)")


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="OUTPUT_DIR of a run")
    parser.add_argument("--output", type=Path, help="PNG; default: prompts.png in the first run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the permutations (0)")
    parser.add_argument(
        "--permutations", type=count, default=999, help="number of the Mantel test (999)"
    )
    add_pairs(parser)


def _add_body_maps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument(
        "--poses",
        nargs="+",
        default=["gait", "unusual"],
        metavar="SOURCE",
        help="gait, unusual, motion files or folders of them (gait unusual)",
    )
    parser.add_argument("--fits", type=Path, help="body_fits.npz, or the folder that holds it")
    parser.add_argument("--images", type=Path, help="folder of the images of --fits")
    parser.add_argument("--body", type=Path, help="SMPL or SMPL-X file; default: the free body")
    parser.add_argument("--rows", type=count, default=4, help="number of bodies (4)")
    parser.add_argument(
        "--size", type=count, nargs=2, default=(256, 128), metavar=("H", "W"), help="(256 128)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of poses and views (0)")


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.command_line import show_loading

    show_loading()
    args.function(args)


if __name__ == "__main__":
    run(main, parse())
