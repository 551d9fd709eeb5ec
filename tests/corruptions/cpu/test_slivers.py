"""Fog and frost on very long images: bounded memory, no seam, and the same pixels elsewhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.fog import map_side
from fastreid_ext.corruptions.cpu.frost import covering_texture, frost_texture
from fastreid_ext.corruptions.gpu.fog import plasma_fractal

CODE = """
import resource, numpy as np
from fastreid_ext.corruptions.cpu import corrupt, enlarged
image = enlarged(np.full({shape}, 90, np.uint8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for reference in (True, False):
    rng = np.random.RandomState(0) if reference else np.random.default_rng(0)
    changed = corrupt(image, "{name}", 3, rng=rng, reference=reference)
    assert changed.shape == image.shape and changed.std() > 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(256, 128, 256), (2048, 32, 2048), (2049, 32, 2048), (32, 21333, 2048), (3000, 2500, 4096)],
)
def test_side_of_the_map(height, width, side):
    assert map_side(height, width) == side


@pytest.mark.parametrize("name", ["fog", "frost"])
@pytest.mark.parametrize("shape", [(3, 2000, 3), (1, 300, 3)])
def test_slivers_take_little_memory(name, shape):
    code = CODE.format(name=name, shape=shape)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 500_000  # kB; it was 3 to 18 GB


def test_texture_is_mirrored_for_slivers_only():
    assert covering_texture(0, 256, 128) is frost_texture(0, 256, 128)
    plain = frost_texture(0, 32, 2048)
    texture = covering_texture(0, 32, 9000)
    assert texture.shape == (32 + 256, 9000 + 256, 3)
    columns = plain.shape[1]
    assert np.array_equal(texture[:, :columns], plain[:288])
    assert np.array_equal(texture[:, columns : 2 * columns], plain[:288, ::-1])


def test_fog_repeats_along_the_longer_side():
    image = np.full((32, 5000, 3), 100, np.uint8)
    foggy = corrupt(image, "fog", 3, rng=np.random.default_rng(0), reference=False)
    assert np.array_equal(foggy[:, :2048], foggy[:, 2048:4096])
    assert not np.array_equal(foggy[:, :1024], foggy[:, 1024:2048])


def test_fog_on_the_device_repeats_too():
    torch.manual_seed(0)
    noise = torch.rand(1, 2048**2) * 2 - 1
    fractal = plasma_fractal(noise, torch.tensor([2]), 8, 4100)[0, 0]
    assert torch.equal(fractal[:, :2048], fractal[:, 2048:4096])
