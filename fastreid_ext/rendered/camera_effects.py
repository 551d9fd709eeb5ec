"""Lens, sensor and encoder of a camera: vignette, blur, resolution, tone, noise, JPEG.

Images are (H, W, 3) RGB; radiance is linear, about 1 for a white wall in full light.
"""

import math

import cv2
import numpy as np

from fastreid_ext.rendered.domains import CameraSpec
from fastreid_ext.rendered.shots import Shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_USUAL_HEIGHT = 128  # pixels; ``CameraSpec.native`` is relative to it


def _vignette(box: tuple, height: int, width: int) -> np.ndarray:
    """Compute the light (H, W) that is left towards the frame's corners, for a crop at ``box``."""
    x = (box[0] + box[2] * (np.arange(width) + 0.5) / width) / FRAME_WIDTH - 0.5
    y = (box[1] + box[3] * (np.arange(height) + 0.5) / height) / FRAME_HEIGHT - 0.5
    return (1.0 - 0.5 * (x[None, :] ** 2 + y[:, None] ** 2)).astype(np.float32)


def _motion_kernel(length: float, angle: float) -> np.ndarray:
    size = 2 * math.ceil(length / 2) + 1
    middle = size // 2
    reach = length / 2
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-reach, reach, 9):
        kernel[round(middle + t * math.sin(angle)), round(middle + t * math.cos(angle))] += 1
    return kernel / kernel.sum()


def _tone(linear: np.ndarray, spec: CameraSpec) -> np.ndarray:
    """Map linear (H, W, 3) to display values about [0, 1]: shoulder, gamma, contrast, colour."""
    value = np.maximum(linear, 0.0)
    value = np.where(value > 0.7, 0.7 + 0.3 * np.tanh((value - 0.7) / 0.3), value)
    value = cv2.pow(value.astype(np.float32), 1.0 / spec.gamma)
    value = (value - 0.45) * spec.contrast + 0.45
    if spec.infrared:
        return value
    grey = (value @ _LUMA)[..., None]
    return grey + (value - grey) * spec.saturation


def expose(
    radiance: np.ndarray,
    box: tuple,
    spec: CameraSpec,
    shot: Shot,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Expose the image that the camera stores, before JPEG.

    Args:
        radiance: (H, W, 4) linear red, green, blue and near infrared.
        box: left, top, width and height of the crop in frame pixels.
        spec: description of the camera and its sensor.
        shot: drift of exposure and gains, sharpness, motion blur.
        height: height of the image in pixels.
        width: width of the image in pixels.
        rng: generator of the sensor's noise.

    Returns:
        (height, width, 3) uint8 RGB image.
    """
    share = min(spec.native * shot.sharpness / _USUAL_HEIGHT, 1.0)
    native = (max(round(width * share), 8), max(round(height * share), 16))
    if spec.infrared:
        light = np.repeat(radiance[..., 3:], 3, axis=2)
    else:
        light = radiance[..., :3] * (np.array(spec.gains) * shot.gains).astype(np.float32)
    light = cv2.resize(np.ascontiguousarray(light), native, interpolation=cv2.INTER_AREA)
    light *= (_vignette(box, native[1], native[0]) * (spec.exposure * shot.exposure))[..., None]
    if shot.motion_length:
        light = cv2.filter2D(
            light, -1, _motion_kernel(shot.motion_length * height / _USUAL_HEIGHT, shot.motion)
        )
    sigma = spec.blur * share * height / _USUAL_HEIGHT
    value = cv2.GaussianBlur(_tone(light, spec), (0, 0), max(sigma, 0.3)).astype(np.float32)
    grain = rng.standard_normal(value.shape[:2] if spec.infrared else value.shape, dtype=np.float32)
    value += (grain if grain.ndim == 3 else grain[..., None]) * np.float32(spec.noise / 255.0)
    if native != (width, height):
        value = cv2.resize(value, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(value * 255.0 + 0.5, 0, 255).astype(np.uint8)


def encode(picture: np.ndarray, quality: int) -> bytes:
    """Encode an RGB image as JPEG; equal images give equal bytes."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "JPEG encoding of a small uint8 picture cannot fail"
    return data.tobytes()
