import cv2
import numpy as np
import pytest

from fastreid_ext.generation.filters.pictures import plot_contact_sheet, plot_histograms
from fastreid_ext.generation.filters.reid import source_features_of
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row

GREEN = (0, 158, 115)
ORANGE = (213, 94, 0)
GREY = (90, 90, 90)
SCORES = {"reid_similarity": 0.7, "reid_margin": 0.1, "duplicate_distance": 20.0}


@pytest.fixture
def rows(tmp_path):
    """Three images: kept, rejected, and one whose file is missing."""
    made = []
    for number, status in enumerate(["ok", "rejected", "rejected"]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 32, 3), 255, np.uint8))
        image = GeneratedImage(
            file_name=f"{number}.png",
            source_dataset="S",
            person_id=1,
            seed=0,
            model_ids=(),
            status=status,
            reason="" if status == "ok" else "filter reid: similarity",
            sha256="0" * 64,
            scores={**SCORES, "reid_similarity": 0.7 - 0.1 * number},
        )
        made.append(Row(image, tmp_path / "metadata.jsonl", number + 1))
    (tmp_path / "2.png").unlink()
    return made


def pixels(path):
    return cv2.imread(str(path))[:, :, ::-1]


def count(image, colour):
    return int((image == np.array(colour)).all(axis=2).sum())


def test_contact_sheet_frames_show_what_is_kept(tmp_path, rows):
    real_images = {("S", 1): [tmp_path / "0.png", tmp_path / "1.png"]}
    sheet = tmp_path / "sheet.png"
    image = pixels(plot_contact_sheet({"S_0001": rows}, real_images, Thresholds(), sheet))
    frame = (64 + 4) * (128 + 4) - 64 * 128  # two pixels around a tile
    assert count(image, GREEN) == frame
    # The tile of the file that is gone is filled, but for what is written in it.
    assert 1.5 * frame + 64 * 128 < count(image, ORANGE) <= 2 * frame + 64 * 128
    assert 2 * frame <= count(image, GREY)


def test_contact_sheet_without_real_images(tmp_path, rows):
    sheet = tmp_path / "sheet.png"
    image = pixels(plot_contact_sheet({"S_0001": rows}, {}, Thresholds(), sheet))
    assert count(image, GREEN) > 0


def test_contact_sheet_limits_identities(tmp_path, rows):
    many = {f"S_{number:04d}": rows for number in range(9)}
    one = pixels(plot_contact_sheet(many, {}, Thresholds(), tmp_path / "s.png", identities=1))
    four = pixels(plot_contact_sheet(many, {}, Thresholds(), tmp_path / "s.png", identities=4))
    assert four.shape == (4 * one.shape[0], one.shape[1], 3)


def test_histograms_with_and_without_real_images_and_scores(tmp_path, rows):
    source = source_features_of(np.eye(3, dtype=np.float32), [("S", 1)] * 3)
    thresholds = Thresholds(reid={"S": 0.5, "T": 0.6})
    for number, known in enumerate(({"S": source}, {})):
        path = plot_histograms([rows], thresholds, known, tmp_path / f"{number}.png")
        assert len(np.unique(pixels(path).reshape(-1, 3), axis=0)) > 10
    path = plot_histograms([rows[:0]], thresholds, {}, tmp_path / "nothing.png")
    assert pixels(path).size
