import hashlib
import io
import threading

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.generation.sampling import image_files
from fastreid_ext.generation.sampling.image_files import (
    FileSettings,
    ImageWriter,
    encode_image,
    resize_image,
)

PNG = FileSettings(size=(8, 4), format="png")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_resize_keeps_an_image_of_the_right_size():
    image = noise(8, 4)
    assert resize_image(image, (8, 4), "resize") is image
    assert resize_image(image, (8, 4), "crop") is image


def test_resize_keeps_flat_colours_and_halves_averages():
    image = np.zeros((16, 8, 3), np.uint8)
    image[8:] = 200  # the lower half
    small = resize_image(image, (8, 4), "resize")
    assert small.shape == (8, 4, 3)
    assert (small[:3] == 0).all()
    assert (small[6:] == 200).all()


def test_resize_of_a_square_squeezes_it():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8] = 255  # the left half stays the left half
    small = resize_image(image, (16, 8), "resize")
    assert (small[:, :3] == 255).all()
    assert (small[:, 5:] == 0).all()


def test_crop_cuts_the_sides_of_a_square():
    image = noise(16, 16)
    assert np.array_equal(resize_image(image, (16, 8), "crop"), image[:, 4:12])


def test_crop_cuts_top_and_bottom_of_what_is_too_high():
    image = noise(16, 4)
    assert np.array_equal(resize_image(image, (8, 4), "crop"), image[4:12])


def test_does_not_write_to_its_input():
    image = noise(16, 16)
    before = image.copy()
    resize_image(image, (8, 4), "crop")
    assert np.array_equal(image, before)


def test_png_keeps_every_pixel():
    image = noise(8, 4)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_image(image, PNG)))), image)


def test_jpeg_of_quality_95_is_close_and_of_quality_10_smaller():
    image = np.asarray(Image.fromarray(noise(8, 4)).resize((64, 128), Image.Resampling.BICUBIC))
    fine = encode_image(image, FileSettings(size=(128, 64), quality=95))
    rough = encode_image(image, FileSettings(size=(128, 64), quality=10))
    read = np.asarray(Image.open(io.BytesIO(fine)))
    assert np.abs(read.astype(int) - image).mean() < 4
    assert len(rough) < len(fine)


def test_writer_returns_the_sha256_of_its_file(tmp_path):
    with ImageWriter(PNG) as writer:
        sums = {n: writer.write(tmp_path / f"{n}.png", noise(8, 4, n)) for n in range(5)}
    for n, digest in sums.items():
        data = (tmp_path / f"{n}.png").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest.result()
        assert data == encode_image(noise(8, 4, n), PNG)


def test_writer_does_not_block_the_caller(tmp_path, monkeypatch):
    may_write = threading.Event()

    def slow(image, settings):
        assert may_write.wait(10)
        return b"data"

    monkeypatch.setattr(image_files, "encode_image", slow)
    with ImageWriter(PNG) as writer:
        pending = [writer.write(tmp_path / f"{n}.png", noise(8, 4)) for n in range(50)]
        assert not any(future.done() for future in pending)
        may_write.set()
    assert all(future.done() for future in pending)


def test_unwritable_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), ImageWriter(PNG) as writer:
        writer.write(tmp_path / "no folder" / "a.png", noise(8, 4))


def test_writer_waits_for_a_slow_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_WAITING", 3)
    writer = ImageWriter(PNG)
    for _ in range(3):
        writer.write(tmp_path / "no folder" / "a.png", noise(8, 4))
    with pytest.raises(FileNotFoundError):  # looks at the first before it takes a fourth
        writer.write(tmp_path / "b.png", noise(8, 4))
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [("resize_mode", "pad", "resize, crop"), ("format", "webp", "jpg, png")],
)
def test_file_settings_name_the_known_values(key, value, known):
    with pytest.raises(ValueError, match=rf"SAMPLING.{key.upper()} of {known}, got '{value}'"):
        FileSettings(size=(8, 4), **{key: value})
