"""Write a generated set with the training identities of a rendered data set in four poses.

    python -m projects.DAPG.miniature.posed_persons datasets/smoke/RenderedCampus

It lies beside the data set, as ``RenderedCampus_poses``, and stands in for the images of a
pose-conditioned generator: stage 2 of DAPG reads both in the same way. An identity that is
written is not rendered again.
"""

import argparse
import hashlib
import json
from pathlib import Path

from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.command_line import short_errors
from fastreid_ext.manifest import (
    GeneratedImage,
    GeneratedSet,
    read_set,
    write_identity,
    write_set,
)
from fastreid_ext.rendered.plan import TRAIN, PlannedIdentity, Settings, plan_domain
from fastreid_ext.rendered.posed_images import render_poses

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
    settings = settings_of(dataset)
    output = dataset.with_name(f"{dataset.name}_poses")
    planned = [
        identity
        for identity in plan_domain(settings)
        if identity.person_id <= settings.train_identities
    ]
    for identity in tqdm(planned, unit="identity", dynamic_ncols=True):
        folder = output / f"{identity.person_id:04d}"
        if not (folder / "metadata.jsonl").is_file():
            write_identity(folder, _rows(settings, identity, folder))
    counts = {"ok": 4 * len(planned)}
    write_set(output, GeneratedSet(generator=_GENERATOR, counts=counts))
    read_set(output)
    return output


def _rows(settings: Settings, identity: PlannedIdentity, folder: Path) -> list[GeneratedImage]:
    folder.mkdir(parents=True, exist_ok=True)
    sources = tuple(image.file for image in identity.images if image.file.startswith(f"{TRAIN}/"))
    rows = []
    for pose, camera, jpeg in render_poses(settings, identity):
        name = f"{pose}.jpg"
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
