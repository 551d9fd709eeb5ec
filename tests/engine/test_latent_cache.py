"""The cache of latents on tiny real VAEs. Truth: diffusers and Pillow, image by image.

Killed processes wait for events, not for times. ``LONG`` only ends a test that hangs.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from fastreid.config import get_cfg
from PIL import Image
from safetensors.torch import load_file, save_file

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.packing import packed_images
from fastreid_ext.data.transforms.one_pass import ResizeOnly
from fastreid_ext.diffusion.latents import encode_posterior
from fastreid_ext.engine import Trainer, latent_cache
from fastreid_ext.engine.latent_cache import give_latents
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.modeling.diffusion_branch.parts import autoencoder_fingerprint, load_autoencoder

from ..waiting import LONG, wait_for

SIZE = (32, 16)
IMAGES = 7


@pytest.fixture
def cfg(tiny_pipeline_folder, tmp_path):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.NAMES = ("Market1501", "DukeMTMC")
    cfg.INPUT.CLEAN_VIEW.SIZE = list(SIZE)
    cfg.MODEL.DIFFUSION.ENABLED = True
    cfg.MODEL.DIFFUSION.BASE_MODEL = str(tiny_pipeline_folder)
    cfg.MODEL.DIFFUSION.LATENT_CACHE = str(tmp_path / "cache")
    return cfg


@pytest.fixture
def paths(tmp_path):
    """Write a few JPEG files of different sizes."""
    rng = np.random.default_rng(0)
    made = []
    for image in range(IMAGES):
        path = tmp_path / f"images/{image}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + image, 20, 3), np.uint8)).save(path)
        made.append(str(path))
    return made


@pytest.fixture(scope="module")
def loaded():
    """VAEs by their fingerprints: each is loaded and checked once for all tests."""
    return {}


@pytest.fixture(autouse=True)
def _small_batches_and_quick_loading(monkeypatch, loaded):
    def load(cfg):
        fingerprint = autoencoder_fingerprint(cfg)
        if fingerprint not in loaded:
            loaded[fingerprint] = load_autoencoder(cfg)
        return loaded[fingerprint]

    monkeypatch.setattr(latent_cache, "_IMAGES_AT_ONCE", 2)
    monkeypatch.setattr(latent_cache, "load_autoencoder", load)


@pytest.fixture
def encoded(monkeypatch):
    """Number of images in each batch that this process has encoded."""
    counts = []

    def counting(autoencoder, images):
        counts.append(len(images))
        return encode_posterior(autoencoder, images)

    monkeypatch.setattr(latent_cache, "encode_posterior", counting)
    return counts


def set_of(paths, size=SIZE, read=read_pixels):
    items = [(path, f"set_{place}", "set_c1") for place, path in enumerate(paths)]
    clean = ResizeOnly(size)
    return PersonDataset(items, clean, relabel=True, read=read, clean=clean)


def with_latents(cfg, paths, **kwargs):
    dataset = set_of(paths, **kwargs)
    give_latents(cfg, dataset)
    return dataset


@pytest.fixture(scope="module")
def autoencoder(tiny_pipeline_folder):
    return AutoencoderKL.from_pretrained(tiny_pipeline_folder, subfolder="vae")


def posterior_of(autoencoder, path):
    """Encode an image as diffusers' users do."""
    image = Image.open(path).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        return autoencoder.encode(pixels).latent_dist, autoencoder.config.scaling_factor


def files_of(cfg):
    return sorted(path.name for path in Path(cfg.MODEL.DIFFUSION.LATENT_CACHE).glob("[!.]*"))


def only_file(cfg):
    (name,) = files_of(cfg)
    return Path(cfg.MODEL.DIFFUSION.LATENT_CACHE) / name


def test_latents_are_those_of_diffusers(cfg, paths, encoded, autoencoder):
    dataset = with_latents(cfg, paths)
    for place, path in enumerate(paths):
        posterior, scale = posterior_of(autoencoder, path)
        mean, deviation = dataset.latents.at(place).float()
        half = {"rtol": 2**-11, "atol": 1e-6}
        assert torch.allclose(mean, scale * posterior.mean[0], **half)
        assert torch.allclose(deviation, scale * posterior.std[0], **half)
        noise = torch.Generator().manual_seed(place)
        sample = scale * posterior.sample(noise)[0]
        noise.manual_seed(place)
        ours = mean + deviation * torch.randn(1, *mean.shape, generator=noise)[0]
        assert torch.allclose(ours, sample, rtol=0, atol=2e-3)
        assert mean.shape == (4, 8, 4)
    assert encoded == [2, 2, 2, 1]


def test_second_start_encodes_nothing(cfg, paths, encoded, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    first = with_latents(cfg, paths)
    assert f"Encoding {IMAGES} of {IMAGES} images to " in caplog.text
    assert f"Encoded {IMAGES} images in 0 s; the file has 0.0 MB" in caplog.text
    assert first.clean is None
    monkeypatch.setattr(latent_cache, "load_autoencoder", None)
    second = with_latents(cfg, paths)
    assert torch.equal(first[3]["latents"], second[3]["latents"])
    assert "clean_images" not in second[3]
    assert sum(encoded) == IMAGES
    assert files_of(cfg)[0].startswith("Market1501-DukeMTMC-32x16-")


def test_random_numbers_of_the_run_stay_the_same(cfg, paths, monkeypatch):
    load = latent_cache.load_autoencoder
    monkeypatch.setattr(latent_cache, "load_autoencoder", lambda cfg: (torch.rand(1), load(cfg))[1])
    before = torch.get_rng_state()
    with_latents(cfg, paths)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_vae_size_or_list_has_a_file_of_its_own(cfg, paths, encoded, tmp_path):
    folder = shutil.copytree(cfg.MODEL.DIFFUSION.BASE_MODEL, tmp_path / "moved")
    with_latents(cfg, paths)
    cfg.MODEL.DIFFUSION.BASE_MODEL = str(folder)
    with_latents(cfg, paths)
    assert sum(encoded) == IMAGES  # the same weights in another folder
    with_latents(cfg, paths[::-1])
    cfg.INPUT.CLEAN_VIEW.SIZE = [16, 16]
    with_latents(cfg, paths, size=(16, 16))
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace("0.18215", "0.13025"))
    other_scale = with_latents(cfg, paths, size=(16, 16))
    change_weights(folder)
    other_weights = with_latents(cfg, paths, size=(16, 16))
    assert not torch.equal(other_scale.latents.at(0), other_weights.latents.at(0))
    assert len(files_of(cfg)) == 5
    assert sum(encoded) == 5 * IMAGES


def change_weights(folder):
    (file,) = (folder / "vae").glob("*.safetensors")
    weights = load_file(file)
    weights["quant_conv.weight"] *= 2
    save_file(weights, file, {"format": "pt"})


def test_file_of_another_vae_under_this_name_is_refused(cfg, paths):
    cfg.MODEL.DIFFUSION.RANDOM_WEIGHTS = True
    with_latents(cfg, paths)
    random = only_file(cfg)
    cfg.MODEL.DIFFUSION.RANDOM_WEIGHTS = False
    with_latents(cfg, paths)
    (own,) = set(random.parent.glob("*.latents")) - {random}
    shutil.copy(random, own)
    with pytest.raises(ValueError, match=r"autoencoder \w{12} in .*, got random-\w{12}: .*remove"):
        with_latents(cfg, paths)


def test_file_cut_short_is_refused(cfg, paths):
    with_latents(cfg, paths)
    file = only_file(cfg)
    os.truncate(file, file.stat().st_size - 100)
    with pytest.raises(ValueError, match=r"it was cut short, perhaps by a copy; remove the file"):
        with_latents(cfg, paths)


def test_changed_image_alone_is_encoded_again(cfg, paths, encoded):
    before = with_latents(cfg, paths)
    shutil.copy(paths[0], paths[4])
    after = with_latents(cfg, paths)
    assert encoded == [2, 2, 2, 1, 1]
    assert torch.allclose(after.latents.at(4), after.latents.at(0), rtol=1e-3, atol=1e-4)
    assert not torch.equal(after.latents.at(4), before.latents.at(4))
    assert torch.equal(after.latents.at(5), before.latents.at(5))


def test_unreadable_image_is_named_and_the_rest_kept(cfg, paths, encoded):
    whole = Path(paths[5]).read_bytes()
    Path(paths[5]).write_bytes(whole[:300])
    with pytest.raises(OSError, match=r"cannot read image .*5\.jpg.*check_data\.py"):
        with_latents(cfg, paths)
    assert encoded == [2, 2]
    assert files_of(cfg)[0].endswith(".latents.unfinished")
    Path(paths[5]).write_bytes(whole)
    with_latents(cfg, paths)
    assert encoded == [2, 2, 2, 1]
    os.remove(paths[2])
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg"):
        with_latents(cfg, paths)


def test_latents_that_are_no_numbers_name_their_image(cfg, paths, monkeypatch):
    def poisoned(autoencoder, images):
        mean, std = encode_posterior(autoencoder, images)
        mean[1] = 7e4  # beyond float16
        return mean, std

    monkeypatch.setattr(latent_cache, "encode_posterior", poisoned)
    with pytest.raises(ValueError, match=r"expected finite latents .* for .*1\.jpg; are the VAE's"):
        with_latents(cfg, paths)


def test_set_without_clean_images_is_refused(cfg, paths):
    dataset = set_of(paths)
    dataset.clean = None
    with pytest.raises(ValueError, match=r"expected INPUT\.CLEAN_VIEW\.SIZE \[height, width\]"):
        give_latents(cfg, dataset)


def test_size_that_the_vae_does_not_divide_is_refused(cfg, paths):
    cfg.INPUT.CLEAN_VIEW.SIZE = [30, 16]
    with pytest.raises(ValueError, match=r"multiples of 4 \(INPUT\.CLEAN_VIEW\.SIZE\)"):
        with_latents(cfg, paths, size=(30, 16))


def test_folder_that_cannot_be_written_to_is_named(cfg, paths, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(latent_cache, "load_autoencoder", None)
    with pytest.raises(OSError, match=r"expected to write .*cache"):
        with_latents(cfg, paths)


def test_packed_images_give_the_same_latents(cfg, paths, tmp_path):
    plain = with_latents(cfg, paths)
    data = only_file(cfg).read_bytes()
    cfg.MODEL.DIFFUSION.LATENT_CACHE = str(tmp_path / "other")
    read = packed_images(tmp_path / "packed", "some", paths, read_pixels)
    packed = with_latents(cfg, paths, read=read)
    assert only_file(cfg).read_bytes() == data
    assert torch.equal(packed[6]["latents"], plain[6]["latents"])


class Reports:
    """Encoder of a child process that notes each batch in a file, and may hang in one.

    Args:
        folder: folder of the files, one for each process.
        hangs_in: number of the batch in which the process hangs, counted from 1; 0 = in none.
    """

    def __init__(self, folder, hangs_in=0):
        self.folder = folder
        self.hangs_in = hangs_in
        self.batches = 0

    def __call__(self, autoencoder, images):
        self.batches += 1
        (self.folder / f"batch-{self.batches}-of-{os.getpid()}").touch()
        time.sleep(LONG if self.batches == self.hangs_in else 0.02)
        return encode_posterior(autoencoder, images)


def reporting(cfg, paths, encoder):
    def load(cfg):
        (encoder.folder / f"load-of-{os.getpid()}").touch()
        return load_autoencoder(cfg)

    latent_cache.load_autoencoder = load
    latent_cache.encode_posterior = encoder
    with_latents(cfg, paths)


def start(cfg, paths, encoder):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=reporting, args=(cfg, paths, encoder), daemon=True)
    process.start()
    return process


def killed_in_third_batch(cfg, paths, tmp_path):
    process = start(cfg, paths, Reports(tmp_path, hangs_in=3))
    wait_for(lambda: list(tmp_path.glob("batch-3-*")))
    return process


def test_killed_process_loses_one_batch(cfg, paths, encoded, tmp_path):
    process = killed_in_third_batch(cfg, paths, tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert only_file(cfg).suffix == ".unfinished"
    with_latents(cfg, paths)
    assert encoded == [2, 1]
    resumed = only_file(cfg).read_bytes()
    cfg.MODEL.DIFFUSION.LATENT_CACHE = str(tmp_path / "other")
    with_latents(cfg, paths)
    assert only_file(cfg).read_bytes() == resumed


@pytest.mark.slow
def test_waiting_process_takes_over_from_a_killed_one(cfg, paths, tmp_path):
    first = killed_in_third_batch(cfg, paths, tmp_path)
    second = start(cfg, paths, Reports(tmp_path))
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    second.join(LONG)
    assert second.exitcode == 0
    assert len(list(tmp_path.glob(f"batch-*-of-{second.pid}"))) == 2


@pytest.mark.slow
def test_one_of_several_processes_encodes(cfg, paths, tmp_path):
    processes = [start(cfg, paths, Reports(tmp_path)) for _ in range(3)]
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("batch-*"))) == 4
    assert len(list(tmp_path.glob("load-*"))) == 1
    assert len(with_latents(cfg, paths).latents.stamps) == IMAGES


@pytest.fixture
def run_cfg(make_cfg, tiny_pipeline_folder, tmp_path):
    """A tiny run on a tiny Market-1501 with a diffusion branch and a cache of latents."""
    keys = {
        "ENABLED": True,
        "BASE_MODEL": str(tiny_pipeline_folder),
        "LATENT_CACHE": str(tmp_path / "cache"),
    }
    changes = {f"MODEL__DIFFUSION__{name}": value for name, value in keys.items()}
    return make_cfg(INPUT__CLEAN_VIEW__SIZE=list(SIZE), **changes)


def test_loader_with_workers_gives_each_image_its_latent(run_cfg, autoencoder):
    loader = build_train_loader(run_cfg)
    give_latents(run_cfg, loader.dataset)
    batches = iter(loader)
    rows = [(batch, place) for batch in (next(batches), next(batches)) for place in range(8)]
    for batch, place in rows:
        assert "clean_images" not in batch
        path = batch["img_paths"][place]
        posterior, scale = posterior_of(autoencoder, path)
        expected = scale * torch.cat([posterior.mean, posterior.std])
        assert batch["latents"].dtype == torch.float16
        assert torch.allclose(batch["latents"][place].float(), expected, rtol=2**-11, atol=1e-6)
    assert len({batch["img_paths"][place] for batch, place in rows}) > 8


@pytest.mark.slow
def test_trainer_reads_latents(run_cfg):
    dataset = Trainer(prepare_run(run_cfg)).data_loader.dataset
    assert len(dataset.latents.stamps) == len(dataset)
    assert dataset.clean is None
