import numpy as np
import pytest
from PIL import Image

from measuring.loading import METHODS, Compared, dataset_of


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    made = [tmp_path / f"{i}.jpg" for i in range(4)]
    for path in made:
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
    return list(map(str, made))


def test_every_method_is_measured_and_costs_something(paths, tmp_path):
    compared = Compared(paths, tmp_path / "packed", batch=4, rounds=1)
    assert set(compared.samples()) == set(METHODS)
    assert min(compared.samples().values()) > 0
    assert compared.device_steps() > 0
    loaded = compared.loaders(workers=0, images=8)
    assert all(cpu > 0 and wall > 0 for cpu, wall in loaded.values())


def test_methods_make_what_they_are_named_for(paths, tmp_path):
    made = {method: dataset_of(method, paths, tmp_path)[0]["images"] for method in METHODS}
    assert {str(image.dtype) for image in made.values()} == {"torch.uint8", "torch.float32"}
    assert all(image.shape == (3, 256, 128) for image in made.values())
    assert list(tmp_path.glob("benchmark-*.packed"))
