"""A preview: rows of identities, two pictures of every camera."""

import cv2
import numpy as np
import pytest

from fastreid_ext.rendered.preview import preview

SIZE = {"height": 32, "width": 16}


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    """Two identities of RenderedVI, whose third and sixth cameras are infrared."""
    path = tmp_path_factory.mktemp("preview") / "sheet.png"
    preview(["RenderedVI"], path, seed=3, identities=2, **SIZE)
    return cv2.imread(str(path)).astype(int)


def cell(sheet, row, column):
    """One picture, between gaps of 2 pixels."""
    top = 2 + row * 34
    left = 2 + column * 18
    return sheet[top : top + 32, left : left + 16]


def test_columns_are_cameras_in_pairs(sheet):
    assert sheet.shape == (2 * 34 + 2, 12 * 18 + 2, 3)
    for row in range(2):
        colourful = [np.ptp(cell(sheet, row, column), axis=2).mean() > 1 for column in range(12)]
        assert colourful == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2


def test_no_two_pictures_are_equal(sheet):
    pictures = {cell(sheet, row, column).tobytes() for row in range(2) for column in range(12)}
    assert len(pictures) == 24


def test_rows_of_domains_follow_each_other(sheet, tmp_path):
    preview(["RenderedVI", "RenderedVI"], tmp_path / "two.png", seed=3, identities=1, **SIZE)
    both = cv2.imread(str(tmp_path / "two.png"))
    assert np.array_equal(both[2:34], both[36:68])
    assert np.array_equal(both[2:34], sheet[2:34])


def test_unknown_domain_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="got 'Market'; use one of these names"):
        preview(["Market"], tmp_path / "sheet.png", seed=0)
    assert not list(tmp_path.iterdir())
