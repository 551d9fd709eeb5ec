"""Generate the planned images of an identity with a pose-guided generator, and write its folder.

The reference features of an identity are computed once for all its images. Condition maps are
rendered on the way: a map takes 3 ms, an image of Stable Diffusion's size 250.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode

from fastreid_ext.atomic import whole_folder
from fastreid_ext.bodies.body_model import BodyModel, load_body
from fastreid_ext.bodies.condition_maps import ConditionMaps, MapRequest, render_requests
from fastreid_ext.bodies.crop_camera import Placement, camera_around
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline, References
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.pose_guided.crops import Crop
from fastreid_ext.generation.pose_guided.encoded_images import read_fitted
from fastreid_ext.generation.pose_guided.training_images import TrainingImage, training_images
from fastreid_ext.generation.pose_plan.plan import Plan, PlannedImage, identity_name
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.identity_images import image_name, link_existing
from fastreid_ext.generation.sampling.image_files import FileSettings, ImageWriter
from fastreid_ext.manifest import GeneratedImage, sha256_of, write_identity


class PosedImages:
    """Generator of the planned images of identities, one identity after the other.

    Args:
        cfg: configuration of the job, whose generator is loaded.
        layout: paths of the folders of the job.
        identities: identities of the job by name.
        plan: plan of the whole job.
        digest: :func:`weights_digest` of the generator, which the rows of the images name.
    """

    def __init__(
        self,
        cfg: CfgNode,
        layout: Layout,
        identities: Mapping[str, Identity],
        plan: Plan,
        digest: str,
    ) -> None:
        self._cfg = cfg
        self._layout = layout
        self._identities = identities
        self._poses = plan.poses
        self._planned = plan.by_name
        self._real = {_name_in_fits(image): image for image in training_images(cfg)}
        self._files = FileSettings.from_config(cfg)
        self._size = tuple(cfg.GENERATION.POSE_GUIDED.SIZE)
        self._body = load_body(cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None)
        folder = Path(cfg.GENERATION.POSE_PLAN.GENERATOR)
        self._model_id = f"{folder.resolve().parent.name}/{folder.name}@{digest[:12]}"
        dtype = getattr(torch, cfg.GENERATION.DTYPE)
        self._pipeline = PoseGuidedPipeline.from_pretrained(folder, torch_dtype=dtype)
        self._pipeline.to(cfg.MODEL.DEVICE)
        self._pipeline.set_progress_bar_config(disable=True)

    def generate(self, name: str) -> None:
        """Write the folder of an identity: images that exist stay, missing ones are added.

        Args:
            name: name of a planned identity.

        Raises:
            ValueError: a reference image cannot be read.
        """
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

    The guider is trained in every case, and is small compared with the U-Nets.
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


def _name_in_fits(image: TrainingImage) -> tuple[str, str]:
    return image.data_set, str(image.fits.file_names[image.row])
