"""Write packed sets for tests and count the images that are decoded."""

from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.packing import packed_images


class CountingReads:
    def __init__(self):
        self.count = 0

    def __call__(self, path):
        self.count += 1
        return read_pixels(path)


def packed(tmp_path, paths, read=read_pixels):
    return packed_images(tmp_path / "packed", "some", paths, read)


def only_file(tmp_path):
    (file,) = (tmp_path / "packed").glob("some-*.packed")
    return file
