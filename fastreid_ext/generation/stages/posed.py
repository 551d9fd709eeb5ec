"""The job of a pose-guided generator: plan, generate, filter, describe (tools/pose_persons.py run).

Files, shards, retries, filters, card and preview are those of the other generation job; only how an
image is made differs. The reference features of an identity are computed once for all its images.
Condition maps are rendered on the way: a map takes 3 ms, an image of Stable Diffusion's size 250.
"""

import hashlib
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode

from fastreid_ext.atomic import create_text, whole_folder
from fastreid_ext.bodies.body_model import BodyModel, load_body
from fastreid_ext.bodies.condition_maps import ConditionMaps, MapRequest, render_requests
from fastreid_ext.bodies.crop_camera import Placement, camera_around
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline, References
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.pose_guided.crops import Crop
from fastreid_ext.generation.pose_guided.encoded_images import read_fitted
from fastreid_ext.generation.pose_guided.training_images import TrainingImage, training_images
from fastreid_ext.generation.pose_plan.plan import (
    Plan,
    PlannedImage,
    identity_name,
    make_plan,
)
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.runs.stage import FILTER, SAMPLE, StageReport, run_stage
from fastreid_ext.generation.sampling.identity_images import image_name, link_existing
from fastreid_ext.generation.sampling.image_files import FileSettings, ImageWriter
from fastreid_ext.generation.stages.filtering import filter_images, wait_for_images
from fastreid_ext.generation.stages.folder import open_job
from fastreid_ext.generation.stages.identities import list_identities
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.report import JobReport, expect_few_failed, report_of_job
from fastreid_ext.manifest import GeneratedImage, sha256_of, write_identity
from fastreid_ext.saved_settings import expect_same

STAGES = ("plan", SAMPLE, FILTER)
FilterModels = Mapping[str, tuple]
_GENERATOR = "generator.json"  # file of a job with the weights that its images are made by
_log = logging.getLogger(__name__)


def generate_posed(
    cfg: CfgNode,
    open_filter_models: Callable[[CfgNode], FilterModels],
    *,
    stages: Sequence[str] = STAGES,
    shard: str = "",
    retries: Collection[str] = (),
    wait: float = 60.0,
) -> JobReport:
    """Do what is left of a job of a pose-guided generator.

    Args:
        cfg: configuration; ``GENERATION.POSE_PLAN``, ``POSE_GUIDED``, ``SAMPLING`` and ``FILTER``
            are read.
        open_filter_models: function from the configuration to the trained models of
            ``GENERATION.FILTER``, see :class:`.filters.run.FilterRun`.
        stages: stages to do, of :data:`STAGES`.
        shard: "INDEX/COUNT" of this worker, or "".
        retries: names of the stages in which failed identities are tried again.
        wait: minutes to wait for other workers that finish nothing.

    Raises:
        FileNotFoundError: the generator, a data set or its body fits are missing.
        ValueError: a setting does not fit, or more identities failed than MAX_FAILED allows.
    """
    _expect_fixed_number(cfg)
    filter_models = open_filter_models(cfg) if FILTER in stages else {}
    plan = make_plan(cfg)
    cfg = _with_images_of(cfg, plan)
    with open_job(cfg, shard=shard, retries=retries, wait=wait, expect=expect_generator) as job:
        list_identities(job)
        names = planned_names(job, plan)
        if SAMPLE in stages:
            sample_posed(job, names, plan)
        counts: Mapping[str, int] = {}
        if FILTER in stages:
            wait_for_images(job)
            expect_few_failed(job)
            counts = filter_images(job, names, FilterRun(cfg, filter_models))
        return report_of_job(job, counts)


def expect_generator(cfg: CfgNode) -> None:
    """Check that the generator can be loaded.

    Raises:
        FileNotFoundError: no generator lies in ``GENERATION.POSE_PLAN.GENERATOR``.
    """
    folder = cfg.GENERATION.POSE_PLAN.GENERATOR
    if not folder:
        raise FileNotFoundError(
            "expected the folder of a trained generator in GENERATION.POSE_PLAN.GENERATOR, got "
            "''; train one with tools/pose_persons.py train"
        )
    PoseGuidedPipeline.from_pretrained(folder)


def finished_job(cfg: CfgNode) -> CfgNode:
    """Complete the configuration of a job by the number of images that its plan has."""
    return _with_images_of(cfg, make_plan(cfg))


def planned_names(job: Job, plan: Plan) -> list[str]:
    """List the identities that are planned and whose real images can be used.

    Raises:
        ValueError: there is none.
    """
    planned = planned_by_name(plan)
    names = [name for name in job.identities if name in planned]
    left_out = sorted(planned.keys() - set(names))
    if not names:
        raise ValueError(
            f"expected images planned for the identities of {job.layout.identities}, got "
            f"{len(planned)} identities that are all left out there; the file has the reasons"
        )
    if left_out and job.worker.is_first and not job.cfg.GENERATION.IDENTITIES.LIMIT:
        _log.warning(
            "%d planned identities are not generated, e.g. %s; %s has the reasons",
            len(left_out),
            left_out[0],
            job.layout.identities,
        )
    return names


def planned_by_name(plan: Plan) -> dict[str, list[PlannedImage]]:
    """Group the images of a plan by the name of their identity."""
    by_name: dict[str, list[PlannedImage]] = defaultdict(list)
    for image in plan.images:
        by_name[identity_name(image.data_set, image.pid)].append(image)
    return by_name


def sample_posed(job: Job, names: Sequence[str], plan: Plan) -> StageReport:
    """Generate the planned images of this worker's identities into ``images/<identity>``.

    Args:
        job: job whose plan is made.
        names: planned identities of all workers, in the same order for all.
        plan: plan of the whole job.
    """
    return run_stage(
        names,
        lambda: PosedSampling(job, plan),
        lambda name: job.layout.has_images(name, plan.per_identity),
        stage=SAMPLE,
        worker=job.worker,
    )


class PosedSampling:
    """Generate the images of identities; images that exist stay, missing ones are added.

    Args:
        job: job with a trained generator.
        plan: plan of the whole job.
    """

    def __init__(self, job: Job, plan: Plan) -> None:
        cfg = job.cfg
        self._cfg = cfg
        self._layout = job.layout
        self._identities = job.identities
        self._poses = plan.poses
        self._planned = planned_by_name(plan)
        self._real = {_name_in_fits(image): image for image in training_images(cfg)}
        self._files = FileSettings.from_config(cfg)
        self._size = tuple(cfg.GENERATION.POSE_GUIDED.SIZE)
        self._body = load_body(cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None)
        dtype = getattr(torch, cfg.GENERATION.DTYPE)
        folder = Path(cfg.GENERATION.POSE_PLAN.GENERATOR)
        self._pipeline = PoseGuidedPipeline.from_pretrained(folder, torch_dtype=dtype)
        self._pipeline.to(cfg.MODEL.DEVICE)
        self._pipeline.set_progress_bar_config(disable=True)
        digest = weights_digest(folder)
        _expect_one_generator(job.layout.output, digest)
        self._model_id = f"{folder.resolve().parent.name}/{folder.name}@{digest[:12]}"

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        """Generate the images of identities, one after the other; an error is its reason."""
        for name in names:
            self._generate(name)
        return {}

    def _generate(self, name: str) -> None:
        planned = [
            one for one in self._planned[name] if one.number >= self._layout.image_count(name)
        ]
        references, place_of = self._references(planned)
        maps = render_requests(
            (self._request(one) for one in planned),
            self._cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None,
            workers=0,
        )
        with (
            whole_folder(self._layout.images / name, self._layout.output) as folder,
            ImageWriter(self._files) as writer,
        ):
            rows = link_existing(self._layout.images / name, folder)
            started = []
            for one, pixels in self._images(planned, maps, references, place_of):
                file = image_name(name, one.number, self._files.format)
                started.append((one, file, writer.write(folder / file, pixels)))
            rows += [self._row(one, file, digest.result()) for one, file, digest in started]
            write_identity(folder, rows, durable=False)  # whole_folder waits for the disk

    def _references(self, planned: Sequence[PlannedImage]) -> tuple[References, dict[str, int]]:
        """Read the reference images of an identity, once for all images that use them."""
        used = list(dict.fromkeys((one.data_set, one.reference) for one in planned))
        places = {reference: place for place, (_, reference) in enumerate(used)}
        return join_references([self._read(key) for key in used]), places

    def _read(self, key: tuple[str, str]) -> References:
        """Read one reference alone, so that its features do not depend on the others."""
        pixels = Crop().pixels(read_fitted(self._real[key]), *self._size)
        return self._pipeline.encode_references(torch.from_numpy(pixels).permute(2, 0, 1)[None])

    def _request(self, one: PlannedImage) -> MapRequest:
        """Build the body of the identity in the planned pose before the planned camera."""
        real = self._real[one.data_set, one.reference]
        return request_of(
            one, real.fits.betas[real.row], self._poses[one.pose], self._body, self._size
        )

    def _images(
        self,
        planned: Sequence[PlannedImage],
        maps: Iterator[ConditionMaps],
        references: References,
        place_of: Mapping[str, int],
    ) -> Iterator[tuple[PlannedImage, np.ndarray]]:
        """Generate in full batches, so that an image does not depend on the number of others."""
        size = self._cfg.GENERATION.SAMPLING.BATCH_SIZE
        settings = self._cfg.GENERATION.SAMPLING
        for start in range(0, len(planned), size):
            part = list(planned[start : start + size])
            conditions = [one.stacked() for one in itertools.islice(maps, len(part))]
            full = [min(place, len(part) - 1) for place in range(size)]
            rows = torch.tensor([place_of[part[place].reference] for place in full])
            seeds = [self._seed(part[place]) for place in full]
            images = self._pipeline(
                references.rows(rows),
                torch.from_numpy(np.stack([conditions[place] for place in full])).float() / 255,
                generators=[torch.Generator().manual_seed(seed) for seed in seeds],
                num_inference_steps=settings.STEPS,
                guidance_scale=settings.GUIDANCE_SCALE,
            )
            pixels = images[: len(part)].permute(0, 2, 3, 1).cpu().numpy()
            yield from zip(part, pixels, strict=True)

    def _seed(self, one: PlannedImage) -> int:
        return seed_of(self._cfg.SEED, "pose", one.data_set, one.pid, one.number)

    def _row(self, one: PlannedImage, file: str, sha256: str) -> GeneratedImage:
        identity = self._identities[identity_name(one.data_set, one.pid)]
        real = self._real[one.data_set, one.reference]
        return GeneratedImage(
            file_name=file,
            source_dataset=identity.source_dataset,
            person_id=identity.person_id,
            seed=self._seed(one),
            model_ids=(self._model_id,),
            sha256=sha256,
            source_images=(one.reference,),
            source_camera_id=real.camera,
            conditions={
                "pose": one.pose,
                "azimuth_deg": one.azimuth_deg,
                "elevation_deg": one.elevation_deg,
            },
            steps=self._cfg.GENERATION.SAMPLING.STEPS,
            guidance=self._cfg.GENERATION.SAMPLING.GUIDANCE_SCALE,
        )


def join_references(parts: Sequence[References]) -> References:
    """Join references that were read one by one, in their order."""
    features = {
        name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features
    }
    return References(features, torch.cat([part.context for part in parts]))


def weights_digest(folder: Path) -> str:
    """Compute a SHA-256 that tells two trainings apart: that of the pose guider's weights.

    The guider is trained in every case, and is small beside the U-Nets.
    """
    files = sorted((folder / "pose_guider").glob("*.safetensors"))
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()


def request_of(
    one: PlannedImage,
    betas: np.ndarray,
    pose: np.ndarray,
    body: BodyModel,
    size: tuple[int, int],
) -> MapRequest:
    """Make the request of the condition maps of a planned image.

    Args:
        one: planned image with its view and placement.
        betas: (10,) shape of the identity, from the fit of the reference.
        pose: (24, 3) pose of the plan, facing +z.
        body: body model that the shape is of.
        size: height and width of the image in pixels.
    """
    posed = body.pose(betas, pose)
    camera = camera_around(
        posed, one.azimuth_deg, one.elevation_deg, *size, Placement(*one.placement)
    )
    return MapRequest(betas, pose, np.zeros(3), camera)


def _expect_one_generator(output: Path, digest: str) -> None:
    """Check that all images of a job are made by the same weights.

    Raises:
        ValueError: the generator was trained again since the job started.
    """
    path = output / _GENERATOR
    now = {"GENERATION.POSE_PLAN.GENERATOR": digest}
    if create_text(path, json.dumps(now) + "\n"):
        return
    expect_same(
        json.loads(path.read_text(encoding="utf-8")),
        now,
        found=f"{output} holds images of another generator in the same folder",
        advice="give another OUTPUT_DIR, or bring the earlier weights back",
    )


def _expect_fixed_number(cfg: CfgNode) -> None:
    """Refuse SAMPLING.MIN_KEPT, whose further images no plan has."""
    least = cfg.GENERATION.SAMPLING.MIN_KEPT
    if least:
        raise ValueError(
            "expected GENERATION.SAMPLING.MIN_KEPT 0 with a plan, whose number of images is fixed, "
            f"got {least}; set it 0 and raise GENERATION.POSE_PLAN.PER_IDENTITY"
        )


def _name_in_fits(image: TrainingImage) -> tuple[str, str]:
    return image.data_set, str(image.fits.file_names[image.row])


def _with_images_of(cfg: CfgNode, plan: Plan) -> CfgNode:
    """Set the number of images of an identity, which the shared stages read."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY = plan.per_identity
    cfg.freeze()
    return cfg
