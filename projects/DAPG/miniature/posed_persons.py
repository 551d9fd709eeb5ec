"""Write a generated set with the training identities of a rendered data set in four poses.

    python -m projects.DAPG.miniature.posed_persons datasets/smoke/RenderedCampus

It lies beside the data set, as ``RenderedCampus_poses``, and stands in for the images of a
pose-conditioned generator: stage 2 of DAPG reads both in the same way. An identity that is
written is not rendered again.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.bodies.pose_sources import canonical_poses
from fastreid_ext.command_line import short_errors
from fastreid_ext.manifest import (
    GeneratedImage,
    GeneratedSet,
    read_set,
    write_identity,
    write_set,
)
from fastreid_ext.rendered.plan import TRAIN, PlannedIdentity, Settings, plan_domain
from fastreid_ext.rendered.posed_images import SeenPose, render_poses

_GENERATOR = "fastreid_ext.rendered.posed_images"


def settings_of(dataset: Path) -> Settings:
    """Read the settings of a rendered data set.

    Raises:
        FileNotFoundError: the folder holds no finished rendered data set.
    """
    description = dataset / "dataset.json"
    if not description.is_file():
        raise FileNotFoundError(
            f"no rendered data set at {dataset}: expected {description}; make it with "
            "tools/render_persons.py"
        )
    settings = json.loads(description.read_text())["settings"]
    del settings["schema"]
    return Settings(**settings)


def write_posed_persons(dataset: Path) -> Path:
    """Render every training identity in the four canonical poses; return the folder of the set."""
    output = dataset.with_name(f"{dataset.name}_poses")
    settings = settings_of(dataset)
    numbers = range(1, settings.train_identities + 1)
    return write_posed_set(settings, output, dict.fromkeys(numbers, canonical_poses()))


def write_posed_set(
    settings: Settings, output: Path, poses: Mapping[int, Sequence[SeenPose]]
) -> Path:
    """Render training identities in given poses as a generated set; an existing one is continued.

    Args:
        settings: settings of the rendered data set that has the identities.
        output: folder of the generated set.
        poses: poses with azimuth and elevation of each identity, by its number.

    Returns:
        The folder of the set.
    """
    planned = [identity for identity in plan_domain(settings) if identity.person_id in poses]
    for identity in tqdm(planned, unit="identity", dynamic_ncols=True):
        folder = output / f"{identity.person_id:04d}"
        if not (folder / "metadata.jsonl").is_file():
            rows = _rows(settings, identity, poses[identity.person_id], folder)
            write_identity(folder, rows)
    counts = {"ok": sum(len(poses[identity.person_id]) for identity in planned)}
    write_set(output, GeneratedSet(generator=_GENERATOR, counts=counts))
    read_set(output)
    return output


def _rows(
    settings: Settings, identity: PlannedIdentity, poses: Sequence[SeenPose], folder: Path
) -> list[GeneratedImage]:
    folder.mkdir(parents=True, exist_ok=True)
    sources = tuple(image.file for image in identity.images if image.file.startswith(f"{TRAIN}/"))
    rows = []
    for number, (pose, camera, jpeg) in enumerate(render_poses(settings, identity, poses)):
        name = f"{number:03d}_{pose}.jpg"
        atomic_write_bytes(folder / name, jpeg)
        rows.append(
            GeneratedImage(
                file_name=name,
                source_dataset=settings.domain,
                person_id=identity.person_id,
                seed=settings.seed,
                model_ids=(_GENERATOR,),
                sha256=hashlib.sha256(jpeg).hexdigest(),
                source_images=sources,
                camera_id=camera,
                conditions={"pose": pose},
            )
        )
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+", help="folders of rendered data sets")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    for dataset in args.datasets:
        print(f"{dataset}: {write_posed_persons(dataset)}")


if __name__ == "__main__":
    with short_errors():
        main(parse())
