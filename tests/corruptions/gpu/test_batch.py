import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES, corrupt
from fastreid_ext.corruptions.gpu import BATCHED, ONE_BY_ONE, corrupt_batch
from measuring.launches import LaunchCounter

ALL = list(CORRUPTION_NAMES)
# The operations of a bucket at 256x128, without the two of the whole batch.
LAUNCHES = {
    "gaussian_noise": 15,
    "shot_noise": 21,
    "impulse_noise": 17,
    "defocus_blur": 10,
    "glass_blur": 48,
    "motion_blur": 14,
    "zoom_blur": 10,
    "snow": 42,
    "frost": 12,
    "fog": 46,
    "brightness": 11,
    "contrast": 7,
    "elastic_transform": 19,
    "pixelate": 11,
    "jpeg_compression": 34,
    "speckle_noise": 16,
    "gaussian_blur": 9,
    "saturate": 18,
}
# By their squared error, and in the reference: its constants are not.
NOT_ORDERED = ("saturate", "spatter", "snow", "glass_blur", "frost", "rain")


@pytest.fixture(scope="module")
def mixed(photo, to_batch):
    """(images, names, severities, seeds): two of each corruption, in no order."""
    names = ALL * 2
    order = np.random.default_rng(1).permutation(len(names))
    names = [names[number] for number in order]
    images = to_batch(*(photo(72, 40, seed) for seed in range(len(names))))
    severities = [1 + number % 5 for number in range(len(names))]
    return images, names, severities, [11 * number for number in range(len(names))]


def assert_close(got, wanted):
    """Equal but for values that a float on the edge of a whole number rounds to either side."""
    difference = (got.long() - wanted.long()).abs()
    assert difference.amax() <= 1
    assert (difference > 0).double().mean() < 1e-3


def test_covers_all_names():
    assert {*BATCHED, *ONE_BY_ONE} == set(ALL)
    assert ONE_BY_ONE == ("spatter", "rain")
    assert set(LAUNCHES) == set(BATCHED)


def test_a_mixed_batch_equals_one_by_one(mixed):
    images, names, severities, seeds = mixed
    together = corrupt_batch(images, names, severities, seeds)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    for row, name in enumerate(names):
        alone = corrupt_batch(
            images[row : row + 1], [name], severities[row : row + 1], seeds[row : row + 1]
        )
        assert_close(together[row], alone[0])


def test_a_permuted_batch_gives_permuted_results(mixed):
    images, names, severities, seeds = mixed
    order = np.random.default_rng(2).permutation(len(names)).tolist()
    columns = [[column[row] for row in order] for column in (names, severities, seeds)]
    assert_close(corrupt_batch(images[order], *columns), corrupt_batch(*mixed)[order])


def test_a_bucket_larger_than_what_is_worked_on_at_once(photo, to_batch):
    """40 images of 256x128 go in two parts."""
    image = to_batch(photo(256, 128))
    results = corrupt_batch(image.repeat(40, 1, 1, 1), ["impulse_noise"] * 40, [2] * 40, range(40))
    for row in (0, 31, 32, 39):
        assert results[row].equal(corrupt_batch(image, ["impulse_noise"], [2], [row])[0])


def test_the_input_is_not_written_to_and_may_have_any_layout(mixed):
    images, *lists = mixed
    before = images.clone()
    results = corrupt_batch(images, *lists)
    assert images.equal(before)
    channels_last = images.to(memory_format=torch.channels_last)
    assert_close(corrupt_batch(channels_last, *lists), results)
    assert_close(corrupt_batch(images.flip(3).flip(3), *lists), results)


@pytest.mark.parametrize("name", ALL)
def test_damage_grows_with_severity(name, photo, to_batch):
    images = to_batch(*(photo(96, 64, seed) for seed in range(8)))
    damage = []
    for severity in (1, 2, 3, 4, 5):
        results = corrupt_batch(images, [name] * 8, [severity] * 8, range(8))
        damage.append((results.double() - images.double()).square().mean().item())
    assert damage[0] > 0
    if name in NOT_ORDERED:
        assert max(damage[3:]) > damage[0]
    else:
        assert damage == sorted(damage)


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides(name, photo, to_batch):
    images = to_batch(photo(64, 32)).repeat(3, 1, 1, 1)
    results = corrupt_batch(images, [name] * 3, [3] * 3, [4, 4, 2**63 - 1])
    assert results[0].equal(results[1])
    is_random = name not in (
        "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
        "gaussian_blur", "saturate",
    )  # fmt: skip
    assert results[0].equal(results[2]) != is_random


def test_two_corruptions_of_one_seed_sample_different_fields(to_batch):
    grey = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    names = ["gaussian_noise", "speckle_noise"]
    noise = corrupt_batch(grey, names, [2, 2], [7, 7]).double().flatten(1)
    assert torch.corrcoef(noise)[0, 1].abs() < 4 / np.sqrt(noise.shape[1])


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_those_without_batched_form_are_those_of_the_cpu(name, photo, to_batch, to_array):
    image = photo(64, 48)
    got = to_array(corrupt_batch(to_batch(image), [name], [2], [9]))
    assert (got == corrupt(image, name, 2, np.random.default_rng(9))).all()


@pytest.mark.parametrize(
    "name",
    ["glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform"],
)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_distribution_is_that_of_the_cpu(name, severity, photo, to_batch):
    """Mean, spread and quantiles over 96 seeds, beside the spread between the seeds."""
    image = photo(64, 48)
    count = 96
    batch = to_batch(image).repeat(count, 1, 1, 1)
    ours = corrupt_batch(batch, [name] * count, [severity] * count, range(count)).double()
    theirs = to_batch(
        *(corrupt(image, name, severity, np.random.default_rng(seed)) for seed in range(count))
    ).double()
    for measure in (
        lambda images: images.mean(dim=(1, 2, 3)),
        lambda images: images.std(dim=(1, 2, 3)),
        lambda images: images.flatten(1).quantile(0.1, dim=1),
        lambda images: images.flatten(1).quantile(0.9, dim=1),
    ):
        first = measure(ours)
        second = measure(theirs)
        error = ((first.var() + second.var()) / count).sqrt()
        assert abs(first.mean() - second.mean()) < 4.5 * error + 0.05


@pytest.mark.parametrize("name", list(LAUNCHES))
def test_few_launches_and_no_waiting(name, photo, to_batch):
    images = to_batch(photo(256, 128)).repeat(5, 1, 1, 1)
    columns = [name] * 5, [1, 2, 3, 4, 5], range(5)
    corrupt_batch(images, *columns)  # fills the tables
    with LaunchCounter() as counter:
        corrupt_batch(images, *columns)
    assert counter.waits == {}
    assert counter.launches <= LAUNCHES[name] + 2


def test_the_counter_sees_what_waits():
    values = torch.tensor([1.0, 2.0])
    with LaunchCounter() as counter:
        _ = values[values > 1], values.sum().item(), values.view(2, 1)
    assert set(counter.waits) == {"nonzero", "_local_scalar_dense"}
    assert counter.launches == 5  # gt, index, its nonzero, sum, item


def test_an_empty_batch_stays_empty():
    assert corrupt_batch(torch.zeros(0, 3, 64, 32, dtype=torch.uint8), [], [], []).shape[0] == 0


GOOD = torch.zeros(2, 3, 64, 32, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (GOOD.numpy(), r"got ndarray; stack them as a tensor"),
        (GOOD.float(), r"got \(2, 3, 64, 32\) float32; corrupt before the images become float"),
        (GOOD.permute(0, 2, 3, 1), r"got \(2, 64, 32, 3\) uint8; channels come second"),
        (GOOD[0], r"expected images \(B, 3, H, W\) uint8 RGB in \[0, 255\], got \(3, 64, 32\)"),
        (GOOD[..., :31], r"expected images of at least 32x32 pixels, got \(2, 3, 64, 31\) uint8"),
    ],
)
def test_says_which_images_it_wanted(images, match):
    with pytest.raises(ValueError, match=match):
        corrupt_batch(images, ["fog"] * 2, [1, 1], [0, 0])


@pytest.mark.parametrize(
    ("names", "severities", "seeds", "match"),
    [
        (["fogg", "fog"], [1, 1], [0, 0], r"unknown corruption 'fogg'; did you mean 'fog'\?"),
        (["fog", 3], [1, 1], [0, 0], r"unknown corruption 3; known: gaussian_noise, shot"),
        (["fog"], [1, 1], [0, 0], r"each of 2 images, got 1 names, 2 severities and 2 seeds"),
        ("fo", [1, 1], [0, 0], r"expected a name, a severity and a seed for each of 2 images"),
        (["fog"] * 2, [1], [0, 0], r"got 2 names, 1 severities and 2 seeds; repeat"),
        (["fog"] * 2, [1, 1], [0], r"got 2 names, 2 severities and 1 seeds"),
        (["fog"] * 2, [0, 1], [0, 0], r"expected severities 1, 2, 3, 4 or 5, got 0; leave"),
        (["fog"] * 2, [1, 6], [0, 0], r"expected severities 1, 2, 3, 4 or 5, got 6"),
        (["fog"] * 2, [1, 2.0], [0, 0], r"expected severities 1, 2, 3, 4 or 5, got 2.0"),
        (["fog"] * 2, [1, True], [0, 0], r"expected severities 1, 2, 3, 4 or 5, got True"),
        (["fog"] * 2, [1, 1], [0, -1], r"expected seeds in \[0, 2\^63\), got -1; take it"),
        (["fog"] * 2, [1, 1], [0, 2**63], r"expected seeds in \[0, 2\^63\), got 9223372036854"),
        (["fog"] * 2, [1, 1], [0.5, 1], r"expected seeds in \[0, 2\^63\), got 0.5"),
    ],
)
def test_says_what_it_wanted_for_each_image(names, severities, seeds, match):
    with pytest.raises(ValueError, match=match):
        corrupt_batch(GOOD, names, severities, seeds)


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(BATCHED))
def test_cuda_equals_cpu(name, photo, to_batch):
    """Within 1 but for what a float at a threshold decides: a flake, a DCT coefficient."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = to_batch(*(photo(256, 128, seed) for seed in range(10)))
    lists = [name] * 10, [1, 2, 3, 4, 5] * 2, range(10)
    on_cuda = corrupt_batch(images.cuda(), *lists)
    assert on_cuda.device.type == "cuda"
    difference = (on_cuda.cpu().long() - corrupt_batch(images, *lists).long()).abs()
    assert (difference > 1).double().mean() < 1e-3
    assert (difference > 0).double().mean() < 0.02


@pytest.mark.gpu
def test_nothing_waits_on_cuda(photo, to_batch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    names = list(BATCHED)
    images = to_batch(photo(256, 128)).repeat(len(names), 1, 1, 1).cuda()
    lists = names, [3] * len(names), range(len(names))
    corrupt_batch(images, *lists)  # fills the tables
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        corrupt_batch(images, *lists)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_does_not_depend_on_the_caller_s_modes(photo, to_batch):
    """Tables made in inference mode serve later, and autocast does not make products half."""
    images = to_batch(photo(60, 44)).repeat(len(BATCHED), 1, 1, 1)  # a size of this test alone
    lists = list(BATCHED), [3] * len(BATCHED), range(len(BATCHED))
    with torch.inference_mode():
        first = corrupt_batch(images, *lists)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        second = corrupt_batch(images, *lists)
    assert first.equal(second)
    assert first.equal(corrupt_batch(images, *lists))
