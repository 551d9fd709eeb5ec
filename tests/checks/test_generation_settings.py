"""Every key of GENERATION.IDENTITIES and GENERATION.CAPTIONS acts, all set to other values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastreid.config import CfgNode
from PIL import Image

from fastreid_ext.generation.captions import captioner, captioning, text_features
from fastreid_ext.generation.captions.captions_file import Answers, write_answers
from fastreid_ext.generation.identities.identity_list import find_identities

from .configured import configured, keys_of

# SAME_CAMERA False leaves MAX_FRAME_GAP unread, so it is set in a case of its own.
ONE_CAMERA = {
    "MAX_IMAGES": 3,
    "MIN_IMAGES": 3,
    "MAX_FRAME_GAP": 10,
    "MIN_HEIGHT": 100,
    "MIN_SHARPNESS": 5.0,
    "LIMIT": 1,
}
ALL_CAMERAS = {"SAME_CAMERA": False}
CAPTIONS = {
    "CAPTIONER": "a/captioner",
    "REVISION": "v2",
    "QUESTIONS": ["what is it?", ""],
    "MAX_TOKENS": 7,
    "BEAMS": 2,
    "BATCH_SIZE": 3,
    "MAX_IMAGES": 4,
    "AGGREGATION": "vote",
    "TEXT_MODEL": "a/clip",
}


def write_image(train: Path, name: str, *, height: int = 120, is_flat: bool = False) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, 24, 3), dtype=np.uint8)
    Image.fromarray(np.full_like(noise, 90) if is_flat else noise).save(train / f"{name}_00.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Person 1: two images. 2: two tracklets, with a low and a flat image. 3: two cameras."""
    train = tmp_path_factory.mktemp("mine") / "bounding_box_train"
    train.mkdir()
    for frame in (1, 2):
        write_image(train, f"0001_c1s1_{frame:06d}")
    write_image(train, "0002_c1s1_000089", height=72)
    write_image(train, "0002_c1s1_000090", is_flat=True)
    for frame in (1, 2, 3, 91, 92, 93, 94):
        write_image(train, f"0002_c1s1_{frame:06d}")
    for camera in (1, 2):
        for frame in (1, 2, 3):
            write_image(train, f"0003_c{camera}s1_{frame:06d}")
    return train.parent


def found(folder: Path, changes: dict[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """Return camera and frame of the references of each identity."""
    data = {"DATASETS.NAMES": ("PersonFolder",), "DATASETS.FOLDER": str(folder)}
    identities = find_identities(configured("GENERATION.IDENTITIES", changes, **data))
    return {
        identity.name.removeprefix("PersonFolder_"): [(i.camera, i.frame) for i in identity.images]
        for identity in identities
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (ONE_CAMERA, {"0001": [], "0002": [(0, 91), (0, 92), (0, 93)]}),
        (
            ALL_CAMERAS,
            {
                "0001": [(0, 1), (0, 2)],
                "0002": [(0, frame) for frame in (1, 2, 3, 89, 90, 91, 92, 93, 94)],
                "0003": [(camera, frame) for camera in (0, 1) for frame in (1, 2, 3)],
            },
        ),
    ],
    ids=["one camera", "all cameras"],
)
def test_every_key_of_identities_acts(folder, changes, expected):
    assert found(folder, changes) == expected
    for key in changes:  # each makes a difference
        others = {name: value for name, value in changes.items() if name != key}
        assert found(folder, others) != expected, key


def test_no_key_of_identities_is_missing_here():
    assert set(ONE_CAMERA | ALL_CAMERAS) == keys_of("GENERATION.IDENTITIES")


@pytest.fixture
def cfg(tmp_path) -> CfgNode:
    others = {"GENERATION.DTYPE": "float16", "MODEL.DEVICE": "cpu", "OUTPUT_DIR": str(tmp_path)}
    return configured("GENERATION.CAPTIONS", CAPTIONS, **others)


def folder_finder(asked: dict[str, Any]) -> Callable[..., Path]:
    """Return a function in the place of find_model_folder that keeps its arguments."""

    def find(name: str, **kwargs: Any) -> Path:
        asked.update(kwargs, name=name)
        return Path("folder")

    return find


def test_every_key_of_the_captioner_arrives(monkeypatch, cfg):
    asked: dict[str, Any] = {}
    made: dict[str, Any] = {}
    monkeypatch.setattr(captioner, "find_model_folder", folder_finder(asked))
    monkeypatch.setattr(
        captioner.Captioner, "__init__", lambda *args, **kwargs: made.update(kwargs)
    )
    captioner.Captioner.from_config(cfg)
    assert {key: made[key] for key in ("max_tokens", "beams", "batch_size")} == {
        "max_tokens": 7,
        "beams": 2,
        "batch_size": 3,
    }
    assert (asked["name"], asked["revision"]) == ("a/captioner", "v2")
    assert asked["key"] == "GENERATION.CAPTIONS.CAPTIONER"


def test_the_text_model_arrives(monkeypatch, cfg):
    asked: dict[str, Any] = {}
    monkeypatch.setattr(text_features, "find_model_folder", folder_finder(asked))
    monkeypatch.setattr(text_features.TextFeatures, "__init__", lambda *args, **kwargs: None)
    text_features.TextFeatures.from_config(cfg)
    assert (asked["name"], asked["key"]) == ("a/clip", "GENERATION.CAPTIONS.TEXT_MODEL")


def test_questions_and_number_of_images_arrive(monkeypatch, cfg, tmp_path):
    monkeypatch.setattr(captioning.Captioner, "from_config", lambda *args: None)
    monkeypatch.setattr(captioning, "caption_identities", lambda *args, **kwargs: kwargs)
    asked = captioning.open_captioning(cfg, [], tmp_path)([])
    assert (asked["questions"], asked["max_images"]) == (["what is it?", ""], 4)


def test_aggregation_arrives(monkeypatch, cfg, tmp_path):
    given = []
    monkeypatch.setattr(
        captioning, "one_caption", lambda *args: given.append(args[2]) or ("a coat", {})
    )
    monkeypatch.setattr(captioning, "fits", lambda *args: True)
    answers = Answers(
        identity="one", captioner="tiny", questions=("",), images=("a.jpg",), answers=(("x",),)
    )
    write_answers(tmp_path, answers)
    captioning.assemble_captions(tmp_path, ["one"], cfg, features=None, tokenizer=None)
    assert given == ["vote"]


def test_no_key_of_captions_is_missing_here():
    assert set(CAPTIONS) == keys_of("GENERATION.CAPTIONS")
