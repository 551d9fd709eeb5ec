"""Identities of real, tiny data sets on disk."""

import dataclasses
import json

import numpy as np
import pytest
from fastreid.config import get_cfg
from PIL import Image

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.generation.identities.identity_list import (
    SourceImage,
    find_identities,
    load_images,
    read_identities,
    sharpness,
    summary,
    used_identities,
    write_identities,
)
from fastreid_ext.generation.identities.source_identities import source_folder, source_identities_of


def save_image(path, size=(24, 72), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def folder(tmp_path):
    """Person 2: five images of camera 1, three of 3; 7: two; 12: one of each of two cameras."""
    train = tmp_path / "mine" / "bounding_box_train"
    names = [f"0002_c1s1_{frame:06d}_00.jpg" for frame in (5, 6, 7, 90, 91)]
    names += [f"0002_c3s1_{frame:06d}_00.jpg" for frame in (1, 2, 3)]
    names += ["0007_c2s1_000001_00.jpg", "0007_c2s1_000002_00.jpg"]
    names += ["0012_c1s1_000001_00.jpg", "0012_c2s1_000001_00.jpg"]
    for seed, name in enumerate(names):
        save_image(train / name, seed=seed)
    return train.parent


@pytest.fixture
def cfg(folder):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.DATASETS.NAMES = ("PersonFolder",)
    cfg.DATASETS.FOLDER = str(folder)
    return cfg


def test_references_are_of_the_camera_with_most_images_in_order(cfg, folder):
    first, second, third = find_identities(cfg)
    assert (first.name, first.source_dataset, first.person_id) == (
        "PersonFolder_0002",
        "PersonFolder",
        2,
    )
    assert first.images[0] == SourceImage(
        path="bounding_box_train/0002_c1s1_000005_00.jpg", camera=0, frame=5, sequence="1"
    )
    assert [image.frame for image in first.images] == [5, 6, 7, 90, 91]
    assert [image.camera for image in second.images] == [1, 1]
    assert third.images == ()
    assert third.reason == (
        "1 usable images of one camera, expected 2 (MIN_IMAGES); SAME_CAMERA False would give 2"
    )


def test_references_of_all_cameras_and_their_number(cfg):
    rules = cfg.GENERATION.IDENTITIES
    rules.SAME_CAMERA = False
    rules.MAX_IMAGES = 4
    first, _, third = find_identities(cfg)
    assert [(image.camera, image.frame) for image in first.images] == [
        (0, 5),
        (0, 6),
        (2, 1),
        (2, 2),
    ]
    assert [image.camera for image in third.images] == [0, 1]


def test_gap_in_the_frames_ends_a_tracklet(cfg):
    cfg.GENERATION.IDENTITIES.MAX_FRAME_GAP = 10
    assert [image.frame for image in find_identities(cfg)[0].images] == [5, 6, 7]


def test_limit_counts_used_identities(cfg):
    cfg.GENERATION.IDENTITIES.LIMIT = 1
    cfg.GENERATION.IDENTITIES.MIN_IMAGES = 3
    assert [identity.name for identity in find_identities(cfg)] == ["PersonFolder_0002"]
    cfg.GENERATION.IDENTITIES.LIMIT = 2
    assert len(find_identities(cfg)) == 3  # looked for a second one to the end


def test_corrupt_low_and_blurred_images_are_left_out_with_the_reason(cfg, folder):
    train = folder / "bounding_box_train"
    (train / "0002_c1s1_000005_00.jpg").write_bytes(b"\xff\xd8\xff damaged")
    save_image(train / "0002_c1s1_000006_00.jpg", size=(10, 30))
    Image.fromarray(np.full((72, 24, 3), 90, np.uint8)).save(train / "0002_c1s1_000007_00.jpg")
    cfg.GENERATION.IDENTITIES.MIN_SHARPNESS = 5.0
    first = find_identities(cfg)[0]
    assert [(image.camera, image.frame) for image in first.images] == [(2, 1), (2, 2), (2, 3)]
    reasons = list(first.unusable.values())
    assert len(reasons) == 3
    assert reasons[0] == "cannot be read: cannot identify image file"
    assert reasons[1] == "30 pixels high, less than MIN_HEIGHT 64"
    assert reasons[2] == "sharpness 0.0, less than MIN_SHARPNESS 5.0"
    assert summary([first]) == (
        "1 identities with 3 reference images; 0 left out, 3 images unusable"
    )


def test_identity_with_unusable_images_names_them(cfg, folder):
    (folder / "bounding_box_train" / "0007_c2s1_000002_00.jpg").write_bytes(b"")
    reason = find_identities(cfg)[1].reason
    assert "1 usable images, expected 2 (MIN_IMAGES); 1 unusable, e.g. bounding_box_train" in reason


def test_sharpness_by_hand():
    image = np.zeros((3, 3, 3), np.uint8)
    image[1, 1] = 100
    # Laplacian of a single bright pixel; OpenCV mirrors at the border without repeating it.
    laplacian = np.array([[0, 200, 0], [200, -400, 200], [0, 200, 0]], float)
    assert sharpness(image) == pytest.approx(laplacian.var())


def test_identities_round_trip_and_damage_is_named_by_line(cfg, tmp_path):
    identities = find_identities(cfg)
    path = tmp_path / "out" / "identities.jsonl"
    write_identities(path, identities)
    assert read_identities(path) == identities
    lines = path.read_text().splitlines()
    path.write_text(f"{lines[0]}\n{lines[1][:30]}\n")
    with pytest.raises(ValueError, match=r"identities.jsonl:2: not JSON"):
        read_identities(path)
    broken = json.loads(lines[0]) | {"images": [{"path": "a.jpg"}]}
    path.write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=r"identities.jsonl:1: expected images with path, camera"):
        read_identities(path)
    with pytest.raises(FileNotFoundError, match=r"no identities at .*generate_persons\.py list"):
        read_identities(tmp_path / "none.jsonl")


def test_load_images_from_the_folder_of_the_set(cfg, folder):
    identity = find_identities(cfg)[1]
    images = load_images(identity, source_folder(cfg, "PersonFolder"))
    assert len(images) == 2
    assert all(image.shape == (72, 24, 3) and image.dtype == np.uint8 for image in images)
    assert np.array_equal(images[1], read_pixels(folder / identity.images[1].path))
    gone = dataclasses.replace(identity.images[0], path="bounding_box_train/none.jpg")
    with pytest.raises(OSError, match=r"none\.jpg"):
        load_images(dataclasses.replace(identity, images=(gone,)), folder)


def test_no_used_identity_names_the_most_frequent_reason(cfg):
    cfg.GENERATION.IDENTITIES.MIN_HEIGHT = 100
    with pytest.raises(ValueError, match=r"none of 3 identities .*72 pixels high.*loosen the rule"):
        used_identities(find_identities(cfg))


def test_subsets_and_several_sets_are_sorted_by_name(cfg, folder, tmp_path):
    for pid in (3, 10):
        for frame in range(4):
            save_image(
                tmp_path / "RenderedMall/bounding_box_train" / f"{pid:04d}_c1s1_{frame:06d}.jpg"
            )
    cfg.DATASETS.ROOT = str(tmp_path)
    cfg.DATASETS.NAMES = ("RenderedMall", "PersonFolder")
    cfg.DATASETS.SUBSET = "few_shot_50"
    found = find_identities(cfg)
    assert [identity.name for identity in found] == [
        "PersonFolder_0002",
        "PersonFolder_0007",
        "PersonFolder_0012",
        "RenderedMall_0003",
        "RenderedMall_0010",
    ]
    mall = source_identities_of(cfg, "RenderedMall")
    assert [len(identity.paths) for identity in mall] == [2, 2]
    assert mall[0].paths[0].startswith("RenderedMall/bounding_box_train/0003_c1s1_")
    assert source_folder(cfg, "RenderedMall") == tmp_path


def test_source_identities_equal_those_of_training(cfg):
    """So that DATASETS.GENERATED.PERSON_IDS kept joins generated and real images."""
    from fastreid_ext.data.configured_sets import training_items

    names = {name for _, name, _ in training_items(cfg).items}
    assert {
        f"personfolder_{identity.pid}" for identity in source_identities_of(cfg, "PersonFolder")
    } == names


def test_identities_without_numbers_are_counted_with_a_warning(tmp_path, caplog):
    from fastreid_ext.generation.identities.source_identities import _numbers

    assert _numbers("identities", "Set", "set", ["set_b-01", "set_a-7", "set_b-01"]) == {
        "set_a-7": 0,
        "set_b-01": 1,
    }
    assert "PERSON_IDS kept cannot join" in caplog.text
    caplog.clear()
    assert _numbers("cameras", "Set", "set", ["set_3", "set_0"]) == {"set_3": 3, "set_0": 0}
    assert not caplog.text


def test_generated_sets_and_test_identities_are_refused(cfg):
    with pytest.raises(ValueError, match="GeneratedPersons, but identities come from real images"):
        source_identities_of(cfg, "GeneratedPersons")
    cfg.DATASETS.COMBINEALL = True
    with pytest.raises(ValueError, match="COMBINEALL is True, but test identities"):
        find_identities(cfg)
