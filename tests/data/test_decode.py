import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fastreid_ext.data import decode
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.decode import read_pixels

XMP = (
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
)


def noise(size=(33, 47), seed=0):
    """Build a smooth image with some noise, of (width, height) ``size``."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.BICUBIC)).astype(int)
    return Image.fromarray(
        (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
    )


def exif(orientation):
    data = Image.Exif()
    data[0x010F] = "a camera"
    if orientation is not None:
        data[0x0112] = orientation
    return data


def exif_as_text(orientation):
    data = exif(orientation).tobytes()
    return b"Raw profile type exif\0\nexif\n%8d\n" % len(data) + data.hex().encode()


def png_with(**chunks):
    info = PngImagePlugin.PngInfo()
    for name, body in chunks.items():
        info.add(name.encode(), body)
    return {"format": "PNG", "pnginfo": info}


def with_xmp(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    segment = b"\xff\xe1" + (len(XMP) + 2).to_bytes(2) + XMP
    return data[:2] + segment + data[2:]


GREY_16 = Image.fromarray(np.arange(999, dtype=np.uint16).reshape(27, 37) * 60)
SECOND = noise(seed=1)
# name: image, options of Image.save, whether the fast decoder must read it
FILES = {
    "jpeg": (noise(), {"format": "JPEG", "quality": 90}, True),
    "jpeg 4:4:4": (noise(), {"format": "JPEG", "subsampling": 0}, True),
    "jpeg 4:2:2": (noise(), {"format": "JPEG", "subsampling": 1}, True),
    "progressive": (noise(), {"format": "JPEG", "progressive": True, "quality": 75}, True),
    "restart markers": (noise(), {"format": "JPEG", "restart_marker_rows": 1}, True),
    "one pixel": (noise((1, 1)), {"format": "JPEG"}, True),
    "jpeg, 128x64": (noise((64, 128)), {"format": "JPEG", "quality": 50}, True),
    "grey jpeg": (noise().convert("L"), {"format": "JPEG"}, True),
    "upright camera": (noise(), {"format": "JPEG", "exif": exif(1)}, True),
    "silent camera": (noise(), {"format": "JPEG", "exif": exif(None)}, True),
    "jpeg with comment": (noise(), {"format": "JPEG", "comment": b"\xff\xd9 \xff\xda"}, True),
    "jpeg with profile": (noise(), {"format": "JPEG", "icc_profile": b"x" * 70000}, True),
    "turned camera": (noise(), {"format": "JPEG", "exif": exif(6)}, False),
    "mirrored camera": (noise(), {"format": "JPEG", "exif": exif(2)}, False),
    "damaged exif": (noise(), {"format": "JPEG", "exif": b"Exif\0\0II*\0\xff\xff"}, None),
    "cmyk": (noise().convert("CMYK"), {"format": "JPEG"}, False),
    "rgb jpeg": (noise(), {"format": "JPEG", "keep_rgb": True}, None),
    "png": (noise(), {"format": "PNG"}, True),
    "grey png": (noise().convert("L"), {"format": "PNG"}, True),
    "png with text": (noise(), png_with(tEXt=b"Comment\0x", gAMA=(30000).to_bytes(4)), True),
    "png with chromaticities": (noise(), png_with(cHRM=bytes(range(32)), sRGB=b"\1"), True),
    "large png": (noise((300, 500)), {"format": "PNG"}, True),
    "rgba": (noise().convert("RGBA"), {"format": "PNG"}, False),
    "grey with alpha": (noise().convert("LA"), {"format": "PNG"}, False),
    "palette": (noise().convert("P"), {"format": "PNG"}, False),
    "black and white": (noise().convert("1"), {"format": "PNG"}, False),
    "16 bits": (GREY_16, {"format": "PNG"}, False),
    "transparent colour": (noise(), {"format": "PNG", "transparency": (1, 2, 3)}, False),
    "turned png": (noise(), {"format": "PNG", "exif": exif(6)}, False),
    "png turned by text": (noise(), png_with(tEXt=exif_as_text(6)), False),
    "moving png": (noise(), {"format": "PNG", "save_all": True, "append_images": [SECOND]}, False),
    "gif": (noise(), {"format": "GIF"}, False),
    "bmp": (noise(), {"format": "BMP"}, False),
    "tiff": (noise(), {"format": "TIFF"}, False),
    "webp": (noise(), {"format": "WEBP"}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_read_pixels_equal_pillow(tmp_path, name):
    image, options, is_fast = FILES[name]
    path = tmp_path / "image.jpg"  # the suffix does not matter
    image.save(path, **options)
    pixels = read_pixels(path)
    assert (pixels.dtype, pixels.ndim) == (np.uint8, 3)
    assert np.array_equal(pixels, np.asarray(read_rgb(path)))
    if is_fast is not None:
        assert (decode._decoded(path.read_bytes()) is not None) == is_fast


def test_read_pixels_applies_xmp_orientation(tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_xmp(noise()))
    assert read_pixels(path).shape == np.asarray(read_rgb(path)).shape == (33, 47, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.9, 0.995])
def test_read_pixels_cut_file_equals_pillow(tmp_path, kind, share):
    path = tmp_path / "cut.jpg"
    noise((64, 128)).save(path, kind)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    try:
        expected = np.asarray(read_rgb(path))
    except OSError:
        with pytest.raises(OSError, match=r"cannot read image .*cut\.jpg: .*check_data"):
            read_pixels(path)
    else:
        assert np.array_equal(read_pixels(path), expected)


def test_read_pixels_damaged_bytes_equal_pillow(tmp_path):
    path = tmp_path / "damaged"
    rng = np.random.default_rng(0)
    outcomes = {"error": 0, "equal": 0}
    for kind in ("JPEG", "PNG"):
        noise().save(path, kind)
        whole = path.read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 2):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                expected = np.asarray(read_rgb(path))
            except OSError:
                with pytest.raises(OSError, match="cannot read image"):
                    read_pixels(path)
                outcomes["error"] += 1
                continue
            assert np.array_equal(read_pixels(path), expected)
            outcomes["equal"] += 1
    assert min(outcomes.values()) > 20


def test_read_pixels_names_missing_and_foreign_files(tmp_path):
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg: .*No such file"):
        read_pixels(tmp_path / "none.jpg")
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(OSError, match=r"cannot read image .*notes\.jpg: cannot identify"):
        read_pixels(tmp_path / "notes.jpg")
