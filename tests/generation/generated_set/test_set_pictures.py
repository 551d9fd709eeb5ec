"""Description of a set: counts, curve, preview, card."""

import hashlib
import io

import numpy as np
import pytest
import yaml
from PIL import Image

from fastreid_ext.config import load_config
from fastreid_ext.generation.generated_set.card import write_card, write_description
from fastreid_ext.generation.generated_set.distribution import (
    distribution_of,
    plot_distribution,
    rows_by_identity,
)
from fastreid_ext.generation.generated_set.preview import plot_preview, preview_samples
from fastreid_ext.generation.stages.folder import fixed_settings
from fastreid_ext.manifest import GeneratedImage, verify_set, write_identity
from fastreid_ext.pictures.tiles import evenly

# Kept, rejected and failed images of three identities.
COUNTS = {"Set_0001": (4, 1, 0), "Set_0002": (0, 3, 0), "Set_0007": (6, 0, 2)}
REASONS = {"ok": "", "rejected": "reid_similarity 0.41 is below 0.6", "failed": "not finite"}
BASE = "CompVis/stable-diffusion-v1-4@main"
RED = (200, 30, 30)
BLUE = (30, 30, 200)


def picture(folder, name, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 64), colour).save(buffer, "png")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.fixture
def images(tmp_path):
    """A generated set without dataset.json."""
    root = tmp_path / "images"
    for identity, numbers in COUNTS.items():
        statuses = [s for s, n in zip(REASONS, numbers, strict=True) for _ in range(n)]
        rows = []
        for index, status in enumerate(statuses):
            name = f"{index:04d}.png"
            digest = "" if status == "failed" else picture(root / identity, name, BLUE)
            rows.append(
                GeneratedImage(
                    file_name=name,
                    source_dataset="Set",
                    person_id=int(identity[-4:]),
                    seed=index,
                    model_ids=(BASE, f"adapters/{identity}@1"),
                    status=status,
                    reason=REASONS[status],
                    sha256=digest,
                )
            )
        write_identity(root / identity, rows)
    return root


@pytest.fixture
def cfg():
    return load_config("", ["MODEL.DEVICE", "cpu", "DATASETS.NAMES", "('Market1501',)"])


def test_distribution_counts_the_rows(images):
    distribution = distribution_of(rows_by_identity(images))
    assert distribution.names == tuple(COUNTS)
    assert distribution.kept.tolist() == [4, 0, 6]
    assert distribution.generated.tolist() == [5, 3, 6]
    assert distribution.failed.tolist() == [0, 0, 2]
    assert distribution.reasons == {"reid_similarity # is below #": 4, "not finite": 2}
    table = dict(distribution.table())
    assert table["images kept"] == "10 (71.4%)"
    assert table["kept per identity, mean"] == "3.3"
    assert table["80 % of the identities have"] == "1 to 6"
    assert table["identities without a kept image"] == "1"


def test_distribution_is_plotted(images, tmp_path):
    output = plot_distribution(distribution_of(rows_by_identity(images)), tmp_path / "a" / "b.png")
    with Image.open(output) as plotted:
        assert plotted.size == (1320, 480)


def test_no_finished_identity_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished identity in .*; give the OUTPUT_DIR"):
        rows_by_identity(tmp_path)
    with pytest.raises(ValueError, match="expected at least one finished identity to plot"):
        plot_preview([], tmp_path / "preview.png")


def test_preview_has_real_images_left_and_generated_right(images, tmp_path):
    real_images = {name: [np.full((128, 64, 3), RED, np.uint8)] * 2 for name in COUNTS}
    captions = {"Set_0001": "a man in a red coat"}
    samples = preview_samples(rows_by_identity(images), captions, real_images, 3)
    output = plot_preview(samples, tmp_path / "preview.png", columns=4)
    pixels = np.asarray(Image.open(output).convert("RGB"))
    line = pixels[3 + 32 + 64]  # through the images of the first identity
    assert line[30].tolist() == list(RED)
    right = 3 + 2 * 67 + 18
    assert line[right + 30].tolist() == list(BLUE)
    assert line[right].tolist() == list(BLUE)
    second = pixels[2 * (3 + 32 + 64) + 70]  # of the second, all rejected: framed
    assert second[right].tolist() == [213, 94, 0]


def test_evenly_takes_first_and_last():
    assert evenly(range(10), 4) == [0, 3, 6, 9]
    assert evenly(range(3), 4) == [0, 1, 2]


def test_description_and_card(images, cfg):
    assert write_description(fixed_settings(cfg), images).base_models == (BASE,)
    assert verify_set(images) == []
    text = write_card(cfg, images, "Generated-Market").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["tags"] == ["person-re-identification", "synthetic", "diffusion"]
    assert yaml.safe_load(head)["size_categories"] == ["n<1K"]
    assert "14 images of 3 identities" in body
    assert "| images kept | 10 (71.4%) |" in body
    assert "terms of Market1501 and of CompVis/stable-diffusion-v1-4@main" in body


def test_card_of_an_unfinished_set_is_refused(images, cfg):
    with pytest.raises(FileNotFoundError, match="no generated set at"):
        write_card(cfg, images, "Unfinished")


def test_set_with_card_opens_in_datasets(images, cfg, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    write_description(fixed_settings(cfg), images)
    write_card(cfg, images, "Generated")
    opened = datasets.load_dataset(
        "imagefolder", data_dir=str(images), cache_dir=str(tmp_path / "cache"), split="train"
    ).cast_column("image", datasets.Image(decode=False))
    assert sum(status == "ok" for status in opened["status"]) == 10


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([], "identity token `sks`"),
        (["GENERATION.PROMPT.TOKEN", ""], "no identity token"),
        (["GENERATION.PROMPT.TRAIN_TOKEN", "True"], "one identity token each, trained from `sks`"),
    ],
)
def test_card_names_the_identity_token(images, keys, text):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", *keys])
    write_description(fixed_settings(cfg), images)
    assert f"{{caption}}`, {text} |" in write_card(cfg, images, "Generated").read_text()
