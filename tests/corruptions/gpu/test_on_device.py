import pytest
import torch

from fastreid_ext.corruptions.gpu import CorruptOnDevice, corrupt_batch
from fastreid_ext.corruptions.record import Corruption, record


@pytest.fixture
def images(photo, to_batch):
    return to_batch(*(photo(64, 32, seed) for seed in range(4)))


def test_does_what_the_records_say_in_their_order(images):
    chain = record([Corruption("pixelate", 2, 1), Corruption("gaussian_noise", 3, 5)])
    batch = {
        "images": images,
        "corruptions": ["", chain, "fog:3:81723", "contrast:5:0"],
        "targets": torch.arange(4),
    }
    before = images.clone()
    done = CorruptOnDevice()(batch)
    assert batch["images"] is images
    assert images.equal(before)
    assert done["targets"] is batch["targets"]
    assert done["images"][0].equal(images[0])
    pixelated = corrupt_batch(images[1:2], ["pixelate"], [2], [1])
    noisy = corrupt_batch(pixelated, ["gaussian_noise"], [3], [5])
    assert done["images"][1].equal(noisy[0])
    assert done["images"][2].equal(corrupt_batch(images[2:3], ["fog"], [3], [81723])[0])
    assert done["images"][3].equal(corrupt_batch(images[3:], ["contrast"], [5], [0])[0])


def test_a_whole_batch(images):
    done = CorruptOnDevice()({"images": images, "corruptions": ["brightness:3:1"] * 4})
    assert done["images"].equal(corrupt_batch(images, ["brightness"] * 4, [3] * 4, [1] * 4))


def test_nothing_to_do(images):
    done = CorruptOnDevice()({"images": images, "corruptions": [""] * 4})
    assert done["images"] is images


def test_says_that_records_are_missing(images):
    with pytest.raises(ValueError, match=r"the entry 'corruptions', got \['images'\]; set INPUT"):
        CorruptOnDevice()({"images": images})


def test_says_how_many_records_it_wanted(images):
    with pytest.raises(ValueError, match=r"each of 4 images, got 2; flatten views in both"):
        CorruptOnDevice()({"images": images, "corruptions": ["", ""]})


def test_says_what_is_no_record(images):
    with pytest.raises(ValueError, match=r"as name:severity:seed, e.g. fog:3:81723, got 'fog'"):
        CorruptOnDevice()({"images": images, "corruptions": ["fog", "", "", ""]})


def test_has_a_short_name():
    assert repr(CorruptOnDevice()) == "CorruptOnDevice()"
