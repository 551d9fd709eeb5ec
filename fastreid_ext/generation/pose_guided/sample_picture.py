"""Pictures of what a generator makes: reference, conditions, generated image, real image."""

from pathlib import Path

import numpy as np
import torch

from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import joined, page, text

_HEADINGS = ("reference", "depth", "normals", "skeleton", "generated", "real")
_LEAST_HEIGHT = 128


def sample_picture(
    pipeline: PoseGuidedPipeline,
    references: np.ndarray,
    conditions: np.ndarray,
    targets: np.ndarray,
    output: Path,
    *,
    num_inference_steps: int = 20,
    guidance_scale: float = 3.5,
) -> Path:
    """Generate an image for each row and write a picture, a row for each.

    Args:
        pipeline: generator in evaluation mode.
        references: (B, H, W, 3) uint8 reference images.
        conditions: (B, 7, H, W) uint8 condition maps of the targets.
        targets: (B, H, W, 3) uint8 real images in the pose asked for.
        output: PNG file to write.
        num_inference_steps: number of steps of the scheduler.
        guidance_scale: weight of classifier-free guidance.
    """
    pipeline.set_progress_bar_config(disable=True)
    generated = pipeline(
        pipeline.encode_references(torch.from_numpy(references).permute(0, 3, 1, 2)),
        torch.from_numpy(conditions).float() / 255,
        generators=[torch.Generator().manual_seed(row) for row in range(len(references))],
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
    )
    images = generated.permute(0, 2, 3, 1).cpu().numpy()
    rows = []
    for reference, maps, image, target in zip(references, conditions, images, targets, strict=True):
        depth = np.repeat(maps[0, :, :, None], 3, axis=2)
        normal = maps[1:4].transpose(1, 2, 0)
        skeleton = maps[4:7].transpose(1, 2, 0)
        tiles = [enlarged(one) for one in (reference, depth, normal, skeleton, image, target)]
        rows.append(joined(tiles, axis=1))
    width = tiles[0].shape[1]
    heading = joined([text(name, width, size=min(12, width // 6)) for name in _HEADINGS], axis=1)
    return save_pixels(page([heading, *rows]), output)


def enlarged(image: np.ndarray) -> np.ndarray:
    """Repeat the pixels of an image until it is at least 128 high."""
    times = -(-_LEAST_HEIGHT // len(image))
    return image.repeat(times, axis=0).repeat(times, axis=1)
