"""Make the generators and the sets of the table; whatever is finished stays."""

import logging
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.bodies.pose_sources import NamedPose
from fastreid_ext.config import load_config
from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.generation.pose_guided.training import train_generator
from fastreid_ext.generation.pose_plan.plan import Plan, make_plan
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.posed import generate_posed
from fastreid_ext.rendered.posed_images import SeenPose
from projects.DAPG.miniature.posed_persons import settings_of, write_posed_set
from projects.DiffID.miniature.rows import FULL, GENERATED, TRUTH, GeneratedRow

CONFIGS = Path(__file__).resolve().parent / "configs"
# Trainings of each generator, in their order.
GENERATORS: Mapping[str, tuple[str, ...]] = {
    "tuned": ("generator_other", "generator_tuned"),
    "scratch": ("generator_scratch",),
}
PERSONS = "RenderedCampus"  # the biased set
_log = logging.getLogger(__name__)


class GeneratedSets:
    """Generators, generated sets and the truly rendered one below a folder.

    Args:
        output: folder of all generators and generated sets.
        base: folder with ``pipeline`` and ``clip`` of projects/DiffusionReID's train_base.
        data: root of the rendered sets.
        opts: KEY VALUE pairs of every configuration.
    """

    def __init__(self, output: Path, base: Path, data: Path, opts: tuple[str, ...] = ()) -> None:
        self._output = output
        self._base = base
        self._data = data
        self._opts = opts
        self._generators: dict[str, Path] = {}

    def folder(self, key: str) -> Path:
        """Return the folder of the images of a set, which is made if it is not there."""
        if key == TRUTH:
            return self._rendered_truth()
        report = generate_posed(self.job(key), lambda _: {})
        _log.info("%s: %s", key, report)
        return Layout(self._output / key).images

    def job(self, key: str) -> CfgNode:
        """Configure the job of a generated set."""
        row = GENERATED[key]
        return self._configuration("augment", key, self._pairs(row))

    def plan(self, key: str) -> Plan:
        """Read the plan of a generated set."""
        return make_plan(self.job(key))

    def generator(self, name: str) -> Path:
        """Return the folder of a generator, which is trained if it is not there."""
        if name not in self._generators:
            for training in GENERATORS[name]:
                cfg = self._configuration(training, training, self._start(training))
                self._generators[name] = train_generator(cfg)
        return self._generators[name]

    def _start(self, training: str) -> list[str]:
        """Name the models that a training starts from, by KEY VALUE pairs."""
        if training == "generator_tuned":
            start = self._output / "generator_other" / "generator"
            return ["GENERATION.POSE_GUIDED.START", str(start)]
        return [
            "GENERATION.BASE_MODEL",
            str(self._base / "pipeline"),
            "GENERATION.POSE_GUIDED.IMAGE_ENCODER",
            str(self._base / "clip"),
        ]

    def _pairs(self, row: GeneratedRow) -> list[str]:
        values = {
            "POSES": row.poses,
            "VIEWS": row.views,
            "PER_IDENTITY": str(row.per_identity),
            "GENERATOR": str(self.generator(row.generator)),
        }
        return [part for key, x in values.items() for part in (f"GENERATION.POSE_PLAN.{key}", x)]

    def _configuration(self, name: str, folder: str, pairs: list[str]) -> CfgNode:
        roots = ["DATASETS.ROOT", str(self._data), "OUTPUT_DIR", str(self._output / folder)]
        fixed = ["MODEL.BACKBONE.PRETRAIN", "False"]
        return load_config(CONFIGS / f"{name}.yml", [*roots, *pairs, *fixed, *self._opts])

    def _rendered_truth(self) -> Path:
        """Render the bodies of the full row's plan, at the cameras of the biased set."""
        dataset = Path(open_dataset(self.job(FULL), PERSONS).train[0][0]).parents[1]
        return write_posed_set(
            settings_of(dataset), self._output / TRUTH, seen_poses(self.plan(FULL))
        )


def seen_poses(plan: Plan) -> dict[int, list[SeenPose]]:
    """List the poses of a plan as the renderer takes them, by the number of the identity."""
    found: dict[int, list[SeenPose]] = {}
    for image in plan.images:
        pose = NamedPose(image.pose, plan.poses[image.pose])
        seen = (pose, image.azimuth_deg, image.elevation_deg)
        found.setdefault(image.pid, []).append(seen)
    return found
