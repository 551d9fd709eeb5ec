"""Stable Diffusion of tiny real parts, on the CPU."""

import pytest
import torch

from fastreid_ext.diffusion.stable_diffusion import read_base


def read_tiny(folder, dtype=torch.float32):
    return read_base(folder, name="tiny@0", device=torch.device("cpu"), dtype=dtype)


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return read_tiny(tiny_pipeline_folder)
