import json

import cv2
import numpy as np
import pytest
import torch

from projects.DiffusionReID.miniature.captioned_persons import (
    find_captions,
    load_persons,
    random_mirror,
)


def write_set(root, domain, captions, size=(128, 64)):
    """Write a data set as the renderer does, person k of grey level 10 k."""
    folder = root / domain
    (folder / "bounding_box_train").mkdir(parents=True)
    rows = []
    for number, caption in enumerate(captions):
        file = f"bounding_box_train/{number:04d}.png"
        cv2.imwrite(str(folder / file), np.full((*size, 3), 10 * number, np.uint8))
        rows.append(json.dumps({"file": file, "caption": caption}))
    rows.append(json.dumps({"file": "query/9.png", "caption": "not for training"}))
    (folder / "annotations.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def test_training_images_of_all_roots_are_found(tmp_path):
    write_set(tmp_path / "a", "RenderedMall", ["one", "two"])
    write_set(tmp_path / "b", "RenderedMall", ["three"])
    found = find_captions([tmp_path / "a", tmp_path / "b"], ["RenderedMall"])
    assert [text for _, text in found] == ["one", "two", "three"]
    assert all(file.is_file() for file, _ in found)


@pytest.mark.parametrize("size", [(64, 32), (64, 64), (256, 128)])
def test_images_get_the_size(tmp_path, size):
    write_set(tmp_path, "RenderedMall", ["one", "two", "three"])
    persons = load_persons(find_captions([tmp_path], ["RenderedMall"]), *size)
    assert len(persons) == 3
    assert persons.images.shape == (3, 3, *size)
    assert persons.images.dtype == torch.uint8
    assert (persons.images[2] == 20).all()


def test_identities_of_the_replication_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"other than RenderedCampus, .* would prove nothing"):
        find_captions([tmp_path], ["RenderedMall", "RenderedCampus"])


def test_a_domain_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no RenderedMall/annotations\.jsonl.*render it"):
        find_captions([tmp_path], ["RenderedMall"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "bound', r"annotations\.jsonl:1: expected JSON, .*interrupted"),
        (
            '{"file": "a.jpg"}',
            r"annotations\.jsonl:1: expected an object with 'file' and 'caption'",
        ),
        ("[1]", r"annotations\.jsonl:1: expected an object .*render the set"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    folder = write_set(tmp_path, "RenderedMall", [])
    (folder / "annotations.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        find_captions([tmp_path], ["RenderedMall"])


def test_half_are_mirrored():
    images = torch.zeros(400, 3, 2, 4, dtype=torch.uint8)
    images[..., 0] = 255
    mirrored = random_mirror(images, np.random.default_rng(0))
    assert mirrored.min() == -1
    assert mirrored.max() == 1
    is_mirrored = mirrored[:, 0, 0, 3] == 1
    assert is_mirrored.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert torch.equal(mirrored[is_mirrored][0], mirrored[~is_mirrored][0].flip(2))
