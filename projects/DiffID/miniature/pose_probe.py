"""Measure pose and viewpoint of images by a small network that is trained on rendered persons.

What the generator was asked for is known, so the error of the network on generated images is
compared with its error on real ones (the floor) and with that of the wishes of other images
(chance). Letters: N images, H x W pixels, K points of the skeleton.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.atomic import atomic_write
from fastreid_ext.bodies.body_model import BodyModel
from fastreid_ext.bodies.condition_maps import MapRequest
from fastreid_ext.bodies.conditions import OPENPOSE_NAMES, openpose_points
from fastreid_ext.data.decode import read_pixels

POINTS = len(OPENPOSE_NAMES)
SIZE = (64, 32)
_WIDTHS = (32, 64, 128, 128)
_BATCH = 64
_RATE = 2e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """Pose and viewpoint of N images, as they are or as they were asked for.

    Attributes:
        azimuth_deg: (N,) azimuths of the cameras in degrees, 0 in front.
        points: (N, K, 2) OpenPose's points as shares (x, y) of width and height; or None.
    """

    azimuth_deg: NDArray[np.floating]
    points: NDArray[np.floating] | None = None

    def shuffled(self, seed: int = 0) -> "Seen":
        """Give every image the wishes of another one."""
        order = np.random.default_rng(seed).permutation(len(self.azimuth_deg))
        points = None if self.points is None else self.points[order]
        return Seen(self.azimuth_deg[order], points)


@dataclasses.dataclass(frozen=True)
class PoseErrors:
    """Errors of the network over images.

    Attributes:
        azimuth_deg: median error of the azimuth in degrees, in [0, 180]; 90 by chance.
        points: mean distance of the skeleton's points, in heights of the image; NaN if unknown.
    """

    azimuth_deg: float
    points: float


def points_of(request: MapRequest, body: BodyModel) -> NDArray[np.floating]:
    """Project OpenPose's points of a body into its image: (K, 2) shares of width and height."""
    posed = body.pose(request.betas, request.pose, request.translation)
    camera = request.camera
    pixels = camera.project(openpose_points(posed))[:, :2]
    return pixels / np.array([camera.width, camera.height])


def read_images(paths: Sequence[Path]) -> Tensor:
    """Read images at the size of the network, (N, 3, H, W) uint8."""
    small = [
        cv2.resize(read_pixels(path), SIZE[::-1], interpolation=cv2.INTER_AREA) for path in paths
    ]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()


class PoseProbe(nn.Module):
    """Small convolutional network from images to azimuth and points."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        edge = 2 ** len(_WIDTHS)
        places = SIZE[0] // edge * SIZE[1] // edge
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(_WIDTHS[-1] * places, 2 + 2 * POINTS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute directions (N, 2), cosine and sine unscaled, and points (N, K, 2) of images."""
        found = self.head(self.features(images.float() / 127.5 - 1))
        return found[:, :2], found[:, 2:].view(-1, POINTS, 2)


def train_probe(images: Tensor, seen: Seen, *, steps: int, seed: int = 0) -> PoseProbe:
    """Train the network on images whose pose and viewpoint are known.

    Args:
        images: (N, 3, H, W) uint8 images.
        seen: their poses and viewpoints, with points.
        steps: number of steps of Adam, with a cosine.
        seed: seed of weights and batches.
    """
    angles = torch.from_numpy(np.radians(seen.azimuth_deg)).float()
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    points = torch.from_numpy(np.asarray(seen.points)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = PoseProbe().train()
        optimizer = torch.optim.Adam(probe.parameters(), _RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(images), (_BATCH,))
            # Cameras differ in brightness and colour; generated images may too.
            gains = 1 + 0.2 * torch.randn(_BATCH, 3, 1, 1)
            found, places = probe((images[rows].float() * gains).clamp(0, 255))
            loss = F.mse_loss(found, directions[rows]) + 20 * F.mse_loss(places, points[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


def load_or_train(path: Path, images: Tensor, seen: Seen, *, steps: int) -> PoseProbe:
    """Read the network of an earlier call, or train and write it."""
    if path.is_file():
        probe = PoseProbe()
        probe.load_state_dict(torch.load(path, weights_only=True))
        return probe.eval()
    probe = train_probe(images, seen, steps=steps)
    with atomic_write(path) as file:
        torch.save(probe.state_dict(), file)
    return probe


@torch.no_grad()
def errors(probe: PoseProbe, images: Tensor, seen: Seen) -> PoseErrors:
    """Compare what the network finds in images with what is known or was asked for."""
    parts = [probe(part) for part in images.split(256)]
    directions = torch.cat([direction for direction, _ in parts]).numpy()
    found = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
    away = np.abs((found - seen.azimuth_deg + 180) % 360 - 180)
    if seen.points is None:
        return PoseErrors(float(np.median(away)), float("nan"))
    places = torch.cat([part for _, part in parts]).numpy()
    shape = np.array([SIZE[1] / SIZE[0], 1.0])  # shares of the width, in heights
    distances = np.linalg.norm((places - seen.points) * shape, axis=2)
    return PoseErrors(float(np.median(away)), float(distances.mean()))
