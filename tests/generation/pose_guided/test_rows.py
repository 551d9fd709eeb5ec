"""Pairs, crops, cached encodings and rows of a step."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.diffusion.latents import encode_posterior
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.generation.pose_guided.crops import Crop, crop_of
from fastreid_ext.generation.pose_guided.encoded_images import encode_images, read_fitted
from fastreid_ext.generation.pose_guided.pairs import Pairs
from fastreid_ext.generation.pose_guided.rows import batch_of, rows_of_step
from fastreid_ext.generation.pose_guided.settings import TrainingSettings
from fastreid_ext.generation.pose_guided.training_images import (
    expect_sound_fits,
    problems_of_sets,
    training_images,
)


def image(pid, camera, name="a.jpg"):
    return SimpleNamespace(identity=("A", pid), camera=camera, file=Path(name))


def sampled(pairs, count=300):
    rng = np.random.default_rng(0)
    return {pairs.sample(rng) for _ in range(count)}


def test_pairs_show_one_identity_and_two_cameras_where_it_has_them():
    images = [image(1, 0), image(1, 0), image(1, 1), image(2, 0), image(2, 0), image(3, 0)]
    found = sampled(Pairs(images, "identity"))
    # Of identity 1 the reference is of the other camera; 2 has one camera; 3 one image.
    assert found == {(2, 0), (2, 1), (0, 2), (1, 2), (3, 4), (4, 3)}


def test_frames_without_numbers_are_counted_in_their_natural_order():
    images = [image(1, 0, f"{frame}.jpg") for frame in (8, 9, 10, 11, 12)]
    images += [image(1, 1, f"{frame}.jpg") for frame in range(3)]
    found = sampled(Pairs(images, "frames", min_gap=3), 2000)
    assert found == {(3, 0), (4, 0), (4, 1), (0, 3), (0, 4), (1, 4)}


def test_frames_of_one_sequence_are_apart_by_the_numbers_in_their_names():
    named = ["c1s1_000100", "c1s1_000120", "c1s1_000131", "c1s1_000900", "c1s2_000100"]
    images = [image(1, 0, f"0001_{name}_00.jpg") for name in named]
    found = sampled(Pairs(images, "frames", min_gap=30), 2000)
    # Frame 120 lies 20 and 11 from its neighbours; sequence 2 has one frame.
    assert found == {(2, 0), (3, 0), (3, 1), (0, 2), (3, 2), (0, 3), (1, 3), (2, 3)}


def test_identities_are_equally_likely():
    images = [image(1, i) for i in range(2)] + [image(2, i) for i in range(20)]
    pairs = Pairs(images, "identity")
    rng = np.random.default_rng(0)
    share = np.mean([pairs.sample(rng)[1] < 2 for _ in range(2000)])
    assert 0.45 < share < 0.55


def test_identities_of_one_image_are_told(caplog):
    with caplog.at_level("WARNING", "fastreid_ext"):
        Pairs([image(1, 0), image(1, 1), image(2, 0)], "identity")
    assert "1 of 2 identities have no pair and are left out" in caplog.text
    with pytest.raises(ValueError, match=r"identities of at least 2 images .* got 2 with fewer"):
        Pairs([image(1, 0), image(2, 0)], "identity")
    with pytest.raises(ValueError, match=r"two frames at least 30 apart.*MIN_GAP"):
        Pairs([image(1, 0)] * 5, "frames", min_gap=30)


@pytest.fixture
def images(guided_cfg):
    return training_images(guided_cfg())


def test_images_have_the_fits_of_their_files(images):
    assert len(images) == 36
    assert len({one.identity for one in images}) == 6
    for one in images:
        assert one.fits.file_names[one.row].endswith(one.file.name)


def test_a_crop_moves_image_and_conditions_alike(images):
    """A marker at each projected joint of the whole image lies at the crop's projected joint."""
    one = images[0]
    fits = one.fits
    joints = load_body().joints_batch(
        fits.betas[[one.row]], fits.poses[[one.row]], fits.translations[[one.row]]
    )[0]
    crop = Crop(left=0.08, top=0.03, scale=0.9)
    height, width = fits.image_sizes[one.row].tolist()
    for joint in (0, 4, 12):
        x, y, _ = fits.camera(one.row).project(joints[joint][None])[0]
        marked = np.zeros((height, width, 3), np.uint8)
        rows, columns = np.mgrid[:height, :width]
        distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
        marked[:] = (255 * np.exp(-((distance / 2) ** 2)))[:, :, None]
        seen = crop.pixels(marked, 128, 64)[:, :, 0].astype(float)
        rows, columns = np.mgrid[:128, :64] + 0.5
        found = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        expected = crop.request(one, 128, 64).camera.project(joints[joint][None])[0, :2]
        np.testing.assert_allclose(found, expected, atol=0.3)


def test_crops_repeat_and_stay_inside():
    first = crop_of(1, "a.jpg", 1, 0.8)
    assert crop_of(1, "a.jpg", 1, 0.8) == first != crop_of(1, "a.jpg", 2, 0.8)
    assert crop_of(1, "a.jpg", 0, 0.8) == Crop()
    for version in range(1, 50):
        crop = crop_of(0, "b.jpg", version, 0.8)
        assert 0.8 <= crop.scale <= 1
        assert 0 <= crop.left <= 1 - crop.scale
        assert 0 <= crop.top <= 1 - crop.scale


def encode(folder, images, pipeline=None, **changes):
    settings = {"size": (32, 16), "versions": 2, "smallest": 0.9, "seed": 0} | changes
    return encode_images(folder, pipeline or tiny_pose_guided(), images, **settings)


def test_encoded_images_are_those_of_the_models(images, tmp_path):
    pipeline = tiny_pose_guided()
    encoded = encode(tmp_path, images[:5], pipeline)
    crop = crop_of(0, images[3].file.name, 1, 0.9)
    pixels = crop.pixels(read_fitted(images[3]), 32, 16)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    mean, deviation = encode_posterior(pipeline.vae, batch)
    found_mean, found_deviation = encoded.posterior([3], [1])
    torch.testing.assert_close(found_mean, mean, rtol=1e-2, atol=2e-3)
    torch.testing.assert_close(found_deviation, deviation, rtol=1e-2, atol=2e-3)
    torch.testing.assert_close(
        encoded.context([3], [1]), pipeline.embed(batch), rtol=1e-2, atol=2e-3
    )


def test_encoding_continues_where_it_was_killed(images, tmp_path, monkeypatch):
    pipeline = tiny_pose_guided()
    expected = encode(tmp_path / "whole", images, pipeline)
    calls = []
    own = pipeline.embed

    def dying(batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(batch)

    monkeypatch.setattr(pipeline, "embed", dying)
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "killed", images, pipeline)
    found = encode(tmp_path / "killed", images, pipeline)
    assert len(calls) == 2 + 2  # 16 of 36 images were done
    np.testing.assert_array_equal(found.latents, expected.latents)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)


def test_an_image_that_changes_is_encoded_again_and_no_other(images, tmp_path, monkeypatch):
    pipeline = tiny_pose_guided()
    moved = tmp_path / images[1].file.name
    shutil.copy(images[1].file, moved)
    chosen = [images[0], dataclasses.replace(images[1], file=moved), images[2]]
    before = encode(tmp_path / "cache", chosen, pipeline).latents[:].copy()
    shutil.copy(images[5].file, moved)
    calls = []
    own = pipeline.embed
    monkeypatch.setattr(pipeline, "embed", lambda batch: calls.append(len(batch)) or own(batch))
    after = encode(tmp_path / "cache", chosen, pipeline).latents
    assert calls == [2]  # two crops of one image
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert (before[1] != after[1]).any()


def test_encoding_needs_disk_space(images, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"MiB of free space for .*lower .*POSE_GUIDED\.CROPS"):
        encode(tmp_path, images)


def test_numbers_that_are_not_finite_are_not_kept(images, tmp_path):
    pipeline = tiny_pose_guided()
    torch.nn.init.constant_(pipeline.image_encoder.visual_projection.weight, 1e30)
    with pytest.raises(ValueError, match=rf"others for .*{images[0].file.name}; are the weights"):
        encode(tmp_path, images, pipeline)
    assert not np.load(tmp_path / "stamps.npy").any()


def test_encodings_of_another_model_are_refused(images, tmp_path):
    encode(tmp_path, images[:2])
    other = tiny_pose_guided()
    torch.nn.init.ones_(other.image_encoder.visual_projection.weight)
    with pytest.raises(ValueError, match=r"those of another \(models was"):
        encode(tmp_path, images[:2], other)


def test_an_image_of_another_size_than_its_fit_is_refused(images, tmp_path):
    fits = dataclasses.replace(images[0].fits, image_sizes=images[0].fits.image_sizes * 2)
    wrong = [dataclasses.replace(one, fits=fits) for one in images[:2]]
    with pytest.raises(ValueError, match=r"to be 128x64 .* in its body fit, got 64x32"):
        encode(tmp_path, wrong)


def test_rows_follow_from_the_step_and_not_from_the_processes(images):
    settings = TrainingSettings(seed=0, size=(32, 16), batch_size=6)
    pairs = Pairs(images, "identity")
    alone = rows_of_step(3, settings, pairs)
    shared = [rows_of_step(3, settings, pairs, rank=r, processes=2) for r in range(2)]
    assert [*shared[0], *shared[1]] == alone[::2] + alone[1::2]
    assert rows_of_step(4, settings, pairs) != alone


def test_a_batch_puts_rows_without_reference_first(images, tmp_path):
    encoded = encode(tmp_path, images)
    settings = TrainingSettings(seed=0, size=(32, 16), crops=2, batch_size=40, drop_condition=0.3)
    rows = rows_of_step(0, settings, Pairs(images, "identity"))
    marks = [np.full((7, 32, 16), i, np.uint8) for i in range(40)]
    batch = batch_of(rows, marks, encoded, settings, 1000)
    order = batch.conditions[:, 0, 0, 0].tolist()
    assert 4 < batch.dropped < 22
    assert not batch.context[: batch.dropped].any()
    assert (batch.context[batch.dropped :].abs().sum(dim=(1, 2)) > 0).all()
    assert order[: batch.dropped] == sorted(order[: batch.dropped])
    first = rows[order[0]]
    mean, _ = encoded.posterior([first.reference], [first.crop])
    torch.testing.assert_close(batch.reference[:1], mean)
    again = batch_of(rows, marks, encoded, settings, 1000)
    assert torch.equal(again.noise, batch.noise)
    assert torch.equal(again.steps, batch.steps)
    assert 0 <= batch.steps.min() < 300 < 700 < batch.steps.max() < 1000


def test_fits_of_other_units_stop_a_training(guided_cfg, rendered_root, tmp_path):
    fits = BodyFits.read(rendered_root / "RenderedCampus")
    broken = dataclasses.replace(fits, translations=1000 * fits.translations)
    broken.write(tmp_path / "mm.npz")
    cfg = guided_cfg(FITS=[str(tmp_path / "mm.npz")])
    with pytest.raises(ValueError, match=r"body fits of RenderedCampus: .* Save metres"):
        expect_sound_fits(cfg)
    assert any("Save metres" in line for line in problems_of_sets(cfg))
    assert problems_of_sets(guided_cfg()) == []


def test_another_number_of_fits_is_refused(guided_cfg):
    with pytest.raises(ValueError, match=r"for each of DATASETS\.NAMES, got 2 for 1"):
        training_images(guided_cfg(FITS=["a.npz", "b.npz"]))


def test_settings_are_plain_values():
    assert json.dumps(dataclasses.asdict(TrainingSettings(seed=1, size=(64, 32))))
