import pytest
import torch

from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.sizes import TEST
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from measuring.fine_tuning import FineTuningFigures, measure_fine_tuning


def measured(folder, device, **values):
    models.save_pipeline(folder / "tiny", TEST, ["a photo of a person"])
    base = read_base(folder / "tiny", name="tiny", device=torch.device(device), dtype=torch.float32)
    settings = FineTuningSettings(rank=2, steps=4)
    figures = measure_fine_tuning(base, settings, persons=2, size=(32, 16), images=3, **values)
    assert not any(module._forward_hooks for module in base.unet.modules())
    return figures


@pytest.mark.parametrize(("references", "rows"), [(0, 2), (5, 4)])
def test_figures_on_the_cpu(tmp_path, references, rows):
    figures = measured(tmp_path, "cpu", references=references)
    assert figures.rows == rows
    assert figures.images_per_second == rows / figures.seconds_of_step
    assert 0 < figures.seconds_of_switch < 2
    assert figures.peak_bytes > 50e6
    assert figures.busy is None


def test_a_person_costs_a_share_of_the_group():
    figures = FineTuningFigures(4, 8, 0.5, 2.0, 0.1, 0, None)
    assert figures.seconds_of_person(10) == (2.0 + 5.0) / 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_figures_on_a_gpu(tmp_path):
    figures = measured(tmp_path, "cuda", references=5)
    assert 1e6 < figures.peak_bytes < 1e9
    assert 0 < figures.busy <= 1
