"""Random numbers of the images of a bucket, each from its own seed alone, and severities.

Random fields come from a counter-based generator: number i of an image is a hash of (key, i), and
the key a hash of (seed, corruption). No image depends on another, and every device computes the
same bits, because the hash is integer arithmetic. It is Lea's 64-bit mixing function [0], the one
whose shifts are all by 32 bits: torch has no unsigned words, but an exclusive or of the upper half
of a word into its lower half is one operation on a view as int32.

Letters: B images in the bucket.

[0] Steele and Vigna, "LXM: Better Splittable Pseudorandom Number Generators (and Almost as Fast)",
    OOPSLA 2021, sec. 2.3, https://doi.org/10.1145/3485525
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FACTOR = 0xDABA0B6EB09322E3
_HALF = np.uint64(32)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _hash_on_host(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hash int64 words like :func:`random_bits`."""
    unsigned = words.view(np.uint64)
    for factor in (_FACTOR, _FACTOR, 1):
        unsigned = (unsigned ^ (unsigned >> _HALF)) * np.uint64(factor)
    return unsigned.view(np.int64)


def keys_of(seeds: NDArray[np.int64], streams: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute the key of each image.

    Args:
        seeds: (B,) seeds of the images, in [0, 2**63).
        streams: (B,) small integers, one for each corruption, so that two corruptions of the same
            seed do not get the same field.
    """
    return _hash_on_host(_hash_on_host(seeds) + (streams + 1) * np.int64(_signed(_GOLDEN)))


@functools.lru_cache(maxsize=32)
def _counters(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GOLDEN)


def random_bits(keys: Tensor, count: int) -> Tensor:
    """Compute (B, count) int32, uniform over all 2^32 values, from keys (B,) int64."""
    words = keys[:, None] + _counters((count + 1) // 2, keys.device)
    halves = words.view(torch.int32)  # little-endian, as every device of torch: lower half first
    for _ in range(2):
        halves[:, ::2].bitwise_xor_(halves[:, 1::2])
        words.mul_(_signed(_FACTOR))
    halves[:, ::2].bitwise_xor_(halves[:, 1::2])
    return halves[:, :count]


@functools.lru_cache(maxsize=64)
def upload_once(values: tuple, device: torch.device) -> Tensor:
    """Copy constants to a device as a float32 tensor, only once for each device."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def upload(values: NDArray, device: torch.device) -> Tensor:
    """Copy an array to a device without waiting for the work in its queue."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Severities and random keys of the B images of one corruption, on the host and the device.

    Attributes:
        host_levels: (B,) int64 severity - 1, in [0, 4], on the host.
        host_keys: (B,) int64 random keys on the host, see :func:`keys_of`.
        levels: (B,) int64 copy of ``host_levels`` on the device.
        keys: (B,) int64 copy of ``host_keys`` on the device.
    """

    host_levels: NDArray[np.int64]
    host_keys: NDArray[np.int64]
    levels: Tensor
    keys: Tensor

    def constants(self, of_severity: tuple[float, ...]) -> Tensor:
        """Look up the value of each image's severity among five, (B, 1, 1, 1) float32."""
        table = upload_once(of_severity, self.levels.device)
        return table.index_select(0, self.levels)[:, None, None, None]

    def bits(self, count: int) -> Tensor:
        """Sample (B, count) int32 random bits."""
        return random_bits(self.keys, count)

    def signed_uniforms(self, *shape: int) -> Tensor:
        """Sample (B, *shape) float32, uniform in the open interval (-1, 1) in steps of 2^-23."""
        count = int(np.prod(shape))
        values = (self.bits(count) >> 8).add(0.5).mul_(2**-23)
        return values.view(len(self.keys), *shape)

    def scaled_normals(self, *shape: int) -> Tensor:
        """Sample (B, *shape) float32 normal values of variance 1/2, within 5.3 of their sigmas.

        The factor sqrt(2) is left to the caller, who multiplies by a scale anyway.
        """
        return self.signed_uniforms(*shape).erfinv_()

    def host_uniforms(self, count: int) -> NDArray[np.float64]:
        """Sample (B, count) numbers in [0, 1) on the host, from other counters than the fields."""
        counters = np.arange(-count, 0, dtype=np.int64) * np.int64(_signed(_GOLDEN))
        words = _hash_on_host(self.host_keys[:, None] + counters)
        return (words.view(np.uint64) >> np.uint64(11)) * 2.0**-53

    def part(self, images: slice) -> "Bucket":
        """Select some images of the bucket."""
        return Bucket(
            self.host_levels[images],
            self.host_keys[images],
            self.levels[images],
            self.keys[images],
        )
