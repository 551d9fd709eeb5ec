import cv2
import numpy as np
import pytest

from fastreid_ext.generation.filters.duplicates import BITS, hamming, hash_of, nearest


@pytest.fixture
def images():
    """Smooth random pictures: four low frequencies each."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 8, 4, 3), dtype=np.uint8)
    return [cv2.resize(part, (64, 128), interpolation=cv2.INTER_CUBIC) for part in small]


def test_distance_by_hand():
    assert hamming("0000000000000000", "ffffffffffffffff") == BITS
    assert hamming("000000000000000f", "0000000000000001") == 3


def test_the_nearest_of_several():
    assert nearest("000000000000000f", ["0000000000000000", "000000000000001f"]) == 1
    assert nearest("000000000000000f", []) == BITS


def test_hash_is_the_sign_of_low_frequencies_around_their_median():
    """Written out with OpenCV's transform: a left half brighter than the right has few signs."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16] = 200
    frequencies = cv2.dct(image[:, :, 0].astype(np.float32))[:8, :8]
    # imagehash's transform is the same but for a factor of each row and column.
    frequencies[np.abs(frequencies) < 1e-3] = 0
    bits = "".join("1" if value > np.median(frequencies) else "0" for value in frequencies.ravel())
    assert hash_of(image) == f"{int(bits, 2):016x}"


def test_recompressed_and_brighter_copies_are_near_and_other_pictures_far(images):
    first, second, _ = images
    data = cv2.imencode(".jpg", first, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    brighter = cv2.convertScaleAbs(first, alpha=0.9, beta=10)
    assert hamming(hash_of(first), hash_of(first)) == 0
    assert hamming(hash_of(first), hash_of(again)) <= 4
    assert hamming(hash_of(first), hash_of(brighter)) <= 4
    assert hamming(hash_of(first), hash_of(second)) > 12
