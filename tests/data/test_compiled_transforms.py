import itertools

import cv2
import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms as host_transforms
from PIL import Image

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.dataset import seeded_randomness
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms.fastreid_steps import (
    build_decoded_steps,
    build_plain_transform,
    build_tensor_steps,
)
from fastreid_ext.data.transforms.one_pass import Geometry, OnePass
from fastreid_ext.data.transforms.painting import NOTHING, ErasingPainter, PaintRectangles, happens

from .pillow_transforms import loading_by_pillow, pillow_transforms

PLAIN = {f"INPUT__{name}__ENABLED": False for name in ("CJ", "AUGMIX", "AUTOAUG")}
CONFIGS = {
    "bare": {**PLAIN, "INPUT__FLIP__ENABLED": False, "INPUT__REA__ENABLED": False},
    "flip": {**PLAIN, "INPUT__REA__ENABLED": False},
    "erasing": PLAIN,
    "padding": {**PLAIN, "INPUT__PADDING__ENABLED": True},
    "padding by mirror": {
        **PLAIN,
        "INPUT__PADDING__ENABLED": True,
        "INPUT__PADDING__MODE": "reflect",
        "INPUT__PADDING__SIZE": 3,
    },
    "one grey": {**PLAIN, "INPUT__REA__VALUE": [0.1]},
    "cut-out": {**PLAIN, "INPUT__CUTOUT__ENABLED": True, "INPUT__CUTOUT__SIZE": [9, 7]},
    "auto, jitter, AugMix": {"INPUT__PADDING__ENABLED": True},
    "random patch": {**PLAIN, "INPUT__RPT__ENABLED": True},
    "host crop": {**PLAIN, "INPUT__CROP__ENABLED": True, "INPUT__CROP__SIZE": [32, 16]},
    "native size": {**PLAIN, "INPUT__SIZE_TRAIN": [0], "INPUT__SIZE_TEST": [-1]},
    "one number": {**PLAIN, "INPUT__SIZE_TRAIN": [24], "INPUT__SIZE_TEST": [20]},
    "larger": {**PLAIN, "INPUT__SIZE_TRAIN": [64, 48], "INPUT__SIZE_TEST": [70, 33]},
    "smaller": {**PLAIN, "INPUT__SIZE_TRAIN": [21, 16], "INPUT__SIZE_TEST": [13, 7]},
}


def batches(loader, count):
    taken = list(itertools.islice(iter(loader), count))
    assert all(batch["images"].dtype == torch.float32 for batch in taken)
    return taken


def assert_equal_batches(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert a["img_paths"] == b["img_paths"]
        assert torch.equal(a["images"], b["images"])


@pytest.mark.parametrize("name", CONFIGS)
def test_training_batches_equal_those_of_pillow_and_torchvision(make_cfg, name):
    cfg = make_cfg(**CONFIGS[name])
    ours = batches(build_train_loader(cfg), 6)
    with loading_by_pillow():
        theirs = batches(build_train_loader(cfg), 6)
    assert_equal_batches(ours, theirs)


@pytest.mark.parametrize("name", ["bare", "host crop", "native size", "larger", "smaller"])
def test_test_batches_equal_those_of_pillow_and_torchvision(make_cfg, name):
    cfg = make_cfg(**CONFIGS[name])
    ours = list(build_test_loader(cfg, "Market1501")[0])
    with loading_by_pillow():
        theirs = list(build_test_loader(cfg, "Market1501")[0])
    assert_equal_batches(ours, theirs)


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_does_not_matter(make_cfg, workers):
    changes = CONFIGS["padding"]
    one = build_train_loader(make_cfg(**changes))
    other = build_train_loader(make_cfg(**changes, DATALOADER__NUM_WORKERS=workers))
    assert_equal_batches(batches(other, 4), batches(one, 4))


def test_resumed_run_sees_the_rest_of_the_whole_one(make_cfg):
    whole = batches(build_train_loader(make_cfg(**CONFIGS["padding"])), 6)
    resumed = build_train_loader(make_cfg(**CONFIGS["padding"]))
    resumed.start_at(4)
    assert_equal_batches(batches(resumed, 2), whole[4:])


def test_plain_configurations_take_the_one_pass(make_cfg):
    for name in ("bare", "flip", "erasing", "padding", "cut-out", "larger"):
        made = build_plain_transform(make_cfg(**CONFIGS[name]), is_train=True)
        assert isinstance(made, OnePass), name
    made = build_plain_transform(make_cfg(**CONFIGS["padding"]), is_train=True)
    assert "padding=10, flip=0.5" in repr(made)


# One pass against steps that can be read off.


def naive(image, size, padding, top, left, mirrored):
    """Pillow's resize, then loops over the pixels: pad with black, crop, mirror, channels first."""
    height, width = size
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.BICUBIC))
    result = np.zeros((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            row = y + top - padding
            column = x + left - padding
            if 0 <= row < height and 0 <= column < width:
                place = width - 1 - x if mirrored else x
                result[:, y, place] = resized[row, column]
    return result


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 0), (6, 6), (0, 5), (2, 4)])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size", [(20, 10), (13, 11), (40, 20)])
def test_one_pass_equals_the_steps_one_by_one(top, left, mirrored, size):
    image = np.random.default_rng(top).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    before = image.copy()
    geometry = Geometry(size, padding=3, flip_probability=0.5)
    assert np.array_equal(
        geometry.apply(image, (top, left, mirrored)), naive(image, size, 3, top, left, mirrored)
    )
    assert np.array_equal(image, before)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_modes_are_those_of_numpy(mode):
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    geometry = Geometry((8, 6), padding=3, padding_mode=mode)
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode)
    assert np.array_equal(
        geometry.apply(image, (1, 5, False)), padded[1:9, 5:11].transpose(2, 0, 1)
    )


def test_read_only_and_cut_out_arrays_are_fine():
    whole = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    view = whole[3:33, 5:25]
    read_only = view.copy()
    read_only.flags.writeable = False
    for size in ((12, 24), (24, 12), (30, 20)):
        results = [Geometry(size).apply(image, (0, 0, False)) for image in (view, read_only)]
        expected = naive(view, size, 0, 0, 0, mirrored=False)
        assert all(np.array_equal(result, expected) for result in results)


# Sampling.


def test_placements_are_uniform_and_mirrored_as_often_as_asked():
    geometry = Geometry((8, 8), padding=2, flip_probability=0.3)
    generator = torch.Generator().manual_seed(0)
    sampled = np.array([geometry.sample(generator) for _ in range(5000)])
    for axis in (0, 1):
        assert np.allclose(np.bincount(sampled[:, axis]) / 5000, 0.2, atol=0.025)
    assert sampled[:, 2].mean() == pytest.approx(0.3, abs=0.02)
    assert abs(np.corrcoef(sampled[:, :3].T)[np.triu_indices(3, 1)]).max() < 0.05


def test_nothing_is_sampled_for_disabled_steps():
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert Geometry((8, 8)).sample(generator) == (0, 0, False)
    assert torch.equal(generator.get_state(), state)


def test_erasings_have_torchvisions_areas_and_ratios():
    painter = ErasingPainter(probability=0.6, fill=(1, 2, 3))
    generator = torch.Generator().manual_seed(0)
    sampled = np.array([painter.sample(256, 128, generator) for _ in range(4000)])
    happened = sampled[:, 2] > 0
    assert happened.mean() == pytest.approx(0.6, abs=0.03)
    top, left, rows, columns = sampled[happened].T
    assert (top + rows <= 256).all()
    assert (left + columns <= 128).all()
    area = rows * columns / (256 * 128)
    assert area.min() > 0.018
    assert area.max() < 0.335
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.015)
    assert (sampled[~happened] == NOTHING).all()


def test_a_rectangle_that_never_fits_is_given_up():
    painter = ErasingPainter(probability=1.0, fill=(0, 0, 0))
    generator = torch.Generator().manual_seed(0)
    sampled = [painter.sample(1, 100, generator) for _ in range(50)]
    assert {rows for _, _, rows, _ in sampled} == {0}
    assert NOTHING in sampled


# Painting.


def test_painting_equals_loops():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 9, 7), dtype=np.uint8)
    painted = np.array(
        [[(0, 0, 0, 0), (2, 1, 4, 3)], [(1, 1, 3, 5), (2, 2, 7, 5)]] + 3 * [[NOTHING] * 2]
    )
    expected = images.astype(np.float32)
    fills = [(1.5, 2.5, 3.5), (100.25, 0, 255)]
    for i, j in itertools.product(range(5), range(2)):
        top, left, rows, columns = painted[i, j]
        for channel in range(3):
            expected[i, channel, top : top + rows, left : left + columns] = fills[j][channel]
    batch = {"images": torch.tensor(images), "painted": torch.tensor(painted, dtype=torch.int16)}
    given = batch["images"].clone()
    result = PaintRectangles(fills)(batch)
    assert result["images"].numpy().tolist() == expected.tolist()
    assert "painted" not in result
    assert torch.equal(batch["images"], given)
    other = {"images": batch["images"]}
    assert PaintRectangles(fills)(other) is other


# Steps before and after those on arrays at network size.


@pytest.mark.parametrize("name", ["padding", "auto, jitter, AugMix", "host crop", "native size"])
def test_steps_before_tensor_equal_those_of_fastreid(make_cfg, name):
    cfg = make_cfg(**{**CONFIGS[name], "INPUT__AUGMIX__ENABLED": False})
    image = np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8)
    steps = host_transforms(cfg, is_train=True).transforms
    steps = steps[: [type(step).__name__ for step in steps].index("ToTensor")]
    compiled = build_decoded_steps(cfg, is_train=True)

    def front(given):
        for step in compiled:
            given = step(given)
        return given

    for number in range(12):
        with seeded_randomness(SampledIndex(0, number, 3)):
            ours = front(image)
            next_ours = torch.rand(1)
        with seeded_randomness(SampledIndex(0, number, 3)):
            theirs = Image.fromarray(image)
            for step in steps:
                theirs = step(theirs)
            next_theirs = torch.rand(1)
        assert np.array_equal(ours, np.asarray(theirs))
        assert next_ours == next_theirs
    assert np.array_equal(front(Image.fromarray(image)).shape, ours.shape)


def test_tensor_steps_round_the_colour_of_erasing_and_nothing_else(make_cfg):
    cfg = make_cfg(**PLAIN, INPUT__CUTOUT__ENABLED=True, INPUT__CUTOUT__SIZE=[5, 5])
    cfg_slow = make_cfg(
        **PLAIN,
        INPUT__CUTOUT__ENABLED=True,
        INPUT__CUTOUT__SIZE=[5, 5],
        INPUT__FLIP__ENABLED=False,
        INPUT__SIZE_TRAIN=[0],
    )
    slow = pillow_transforms(cfg_slow, is_train=True)
    tensor_steps = build_tensor_steps(cfg)
    image = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    changed = 0
    for number in range(20):
        with seeded_randomness(SampledIndex(0, number, 3)):
            ours = tensor_steps(image)
        with seeded_randomness(SampledIndex(0, number, 3)):
            theirs = slow(Image.fromarray(image))
        assert ours.dtype == torch.uint8
        assert torch.equal(ours.float(), theirs.round())
        changed += not np.array_equal(cv2.merge(tuple(ours.numpy())), image)
    assert changed > 10


def test_events_happen_as_a_comparison_of_tensors_says():
    """Also where the number and the probability are equal in float32 only."""
    for seed in range(300):
        number = torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
        for probability in (number - 1e-9, number, number + 1e-9, 0.0, 0.5, 1.0):
            ours = torch.Generator().manual_seed(seed)
            theirs = torch.Generator().manual_seed(seed)
            expected = bool(torch.rand(1, generator=theirs) < probability)
            assert happens(probability, ours) is expected
            assert torch.equal(ours.get_state(), theirs.get_state())
