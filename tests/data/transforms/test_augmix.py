"""AugMix: operations against fastreid's and Pillow's, mixtures against loops."""

from collections import Counter

import numpy as np
import pytest
from fastreid.data.transforms import functional as host
from PIL import Image

from fastreid_ext.data.transforms.augmix import AugMix, MixPlan
from fastreid_ext.data.transforms.augmix_operations import OPERATION_NAMES, Operation, operated

from .pillow_augmix import PILLOW_OPERATIONS, mixed_by_pillow

MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def picture(height=48, width=25, seed=0):
    rng = np.random.default_rng(seed)
    smooth = rng.integers(20, 200, (6, 4, 3), dtype=np.uint8)
    large = np.array(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(large + rng.normal(0, 9, large.shape), 0, 255).astype(np.uint8)


def by_pillow(image, operation):
    return np.asarray(PILLOW_OPERATIONS[operation.name](Image.fromarray(image), operation))


def sampled_by_host(name, severity, seed):
    """The level and sign that fastreid's operation samples after this seed."""
    np.random.seed(seed)  # noqa: NPY002
    level = np.random.uniform(low=0.1, high=severity)  # noqa: NPY002
    turned = name in MOVING and np.random.uniform() > 0.5  # noqa: NPY002
    return Operation(name, level, -1 if turned else 1)


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_operations_are_those_of_fastreid_and_of_augmix(name):
    assert {function.__name__ for function in host.augmentations} == set(OPERATION_NAMES)
    image = picture()
    for seed in range(8):
        operation = sampled_by_host(name, 3 if seed % 2 else 10, seed)
        np.random.seed(seed)  # noqa: NPY002
        theirs = getattr(host, name)(Image.fromarray(image), 3 if seed % 2 else 10)
        assert np.array_equal(by_pillow(image, operation), np.asarray(theirs))


@pytest.mark.parametrize("size", [(64, 32), (33, 47), (1, 5)])
@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_compiled_operations_equal_pillows(name, size):
    for seed, level in enumerate((0.1, 0.9, 2.4, 3.0, 5.7, 7.5, 9.999)):
        for sign in (-1, 1):
            image = picture(*size, seed)
            operation = Operation(name, level, sign)
            before = image.copy()
            assert np.array_equal(operated(image, operation), by_pillow(image, operation))
            assert np.array_equal(image, before)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
def test_compiled_movements_equal_pillows_at_random_levels(name):
    rng = np.random.default_rng(0)
    for level in rng.uniform(0.1, 10, 60):
        height, width = rng.integers(2, 70, 2)
        image = picture(height, width)
        operation = Operation(name, float(level), 1)
        assert np.array_equal(operated(image, operation), by_pillow(image, operation))


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 6, 3), 7, np.uint8),
        np.zeros((8, 6, 3), np.uint8),
        np.repeat(np.array([[[0, 255, 9]], [[255, 0, 9]]], np.uint8), 40, axis=1),
        np.arange(3 * 300, dtype=np.uint16).reshape(300, 1, 3).clip(0, 255).astype(np.uint8),
    ],
    ids=["one colour", "black", "two colours", "steps"],
)
@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_tables_of_extreme_histograms_equal_pillows(name, image):
    operation = Operation(name, 1.0, 1)
    assert np.array_equal(operated(image, operation), by_pillow(image, operation))


def test_operations_by_hand():
    image = np.arange(2 * 6 * 3, dtype=np.uint8).reshape(2, 6, 3)
    # A third of 6 columns at level 10: the column that was 2 to the right.
    moved = operated(image, Operation("translate_x", 10.0, 1))
    assert np.array_equal(moved[:, :4], image[:, 2:])
    assert (moved[:, 4:] == 0).all()
    inverted = operated(np.full((2, 2, 3), 200, np.uint8), Operation("solarize", 3.0, 1))
    assert (inverted == 55).all()  # the threshold is 256 - 76 = 180
    kept = operated(np.full((2, 2, 3), 0b10110111, np.uint8), Operation("posterize", 3.0, 1))
    assert (kept == 0b10100000).all()  # 3 bits


def plan_of(seed=0, **changes):
    return AugMix(**changes).sample(np.random.default_rng(seed))


def slowly(image, plan):
    """The paper's formula, pixel by pixel."""
    views = []
    for chain in plan.chains:
        view = image
        for operation in chain:
            view = by_pillow(view, operation)
        views.append(view.tolist())
    mixed = np.empty_like(image)
    for place in np.ndindex(image.shape):
        row, column, channel = place
        total = sum(
            weight * view[row][column][channel]
            for weight, view in zip(plan.weights, views, strict=True)
        )
        mixed[place] = round((1 - plan.share) * int(image[place]) + plan.share * total)
    return mixed


def test_pillows_mixture_is_the_formula():
    image = picture(20, 10)
    for seed in range(4):
        plan = plan_of(seed)
        assert np.array_equal(mixed_by_pillow(image, plan), slowly(image, plan))


@pytest.mark.parametrize("depth", [-1, 1, 3])
def test_mixture_differs_from_pillows_by_one_grey_level_at_most_and_seldom(depth):
    for seed in range(12):
        image = picture(seed=seed)
        plan = plan_of(seed, depth=depth)
        theirs = mixed_by_pillow(image, plan)
        ours = AugMix.apply(image, plan)
        apart = np.abs(ours.astype(int) - theirs)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-3


@pytest.mark.parametrize("apply", [AugMix.apply, mixed_by_pillow])
def test_known_mixtures(apply):
    image = picture()
    operation = (Operation("solarize", 10.0, 1),)  # threshold 0 inverts everything
    kept = apply(image, MixPlan((operation,), (1.0,), 0.0))
    assert np.array_equal(kept, image)
    assert not np.shares_memory(kept, image)
    inverted = apply(image, MixPlan((operation,), (1.0,), 1.0))
    assert np.array_equal(inverted, 255 - image)
    grey = apply(image, MixPlan((operation, ()), (0.5, 0.5), 1.0))
    assert set(np.unique(grey)) <= {127, 128}


def test_input_is_not_written_to_and_may_be_read_only():
    image = picture()
    before = image.copy()
    image.flags.writeable = False
    for seed in range(5):
        mixed = AugMix()(image, np.random.default_rng(seed))
        assert (mixed.shape, mixed.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)


def test_plans_are_sampled_by_the_papers_distributions():
    plans = [plan_of(seed, severity=3) for seed in range(3000)]
    depths = Counter(len(chain) for plan in plans for chain in plan.chains)
    assert all(2800 < depths[depth] < 3200 for depth in (1, 2, 3))  # 3000, deviation 45
    operations = [step for plan in plans for chain in plan.chains for step in chain]
    kinds = Counter(step.name for step in operations)
    assert all(1850 < kinds[name] < 2150 for name in OPERATION_NAMES)  # 2000, deviation 42
    levels = np.array([step.level for step in operations])
    assert 0.1 <= levels.min() < 0.11
    assert 2.99 < levels.max() <= 3
    assert abs(levels.mean() - 1.55) < 0.02
    assert abs(np.mean([step.sign for step in operations])) < 0.03
    weights = np.array([plan.weights for plan in plans])
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.abs(weights.mean(axis=0) - 1 / 3).max() < 0.02
    # Dirichlet(1, 1, 1) and Beta(1, 1): variances 1/18 and 1/12.
    assert abs(weights.var() - 1 / 18) < 0.004
    shares = np.array([plan.share for plan in plans])
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.var() - 1 / 12) < 0.005


def test_equal_seeds_give_equal_plans():
    assert plan_of(5) == plan_of(5)
    assert plan_of(5) != plan_of(6)
    assert {len(chain) for chain in plan_of(depth=2, width=4).chains} == {2}
    assert len(plan_of(width=4).weights) == 4


def test_probability():
    rng = np.random.default_rng(0)
    half = AugMix(probability=0.5)
    assert 900 < sum(half.sample(rng) is None for _ in range(2000)) < 1100
    assert AugMix(probability=0.0)(image := picture(), rng) is image
