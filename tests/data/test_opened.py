"""Given items, samplers by name, relabelling, several loaders, origins and clean views."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.build import build_items_loader, build_test_loader, build_train_loader
from fastreid_ext.data.configured_sets import TrainingItems, training_items
from fastreid_ext.data.dataset import Origin, read_rgb
from fastreid_ext.data.joined import JoinedLoaders
from fastreid_ext.registries import SAMPLER_REGISTRY

from .conftest import write_image, write_market
from .test_build import assert_same, first_batches


@SAMPLER_REGISTRY.register()
def LastCameraFirst(cfg, items, *, batch_size, world_size):
    """Yield every image once, those of the last camera first; each seed has another epoch."""

    def stream(seed: int) -> Iterator[int]:
        rng = np.random.default_rng(seed)
        while True:
            keys = [(item[2], rng.random()) for item in items]
            yield from sorted(range(len(items)), key=keys.__getitem__, reverse=True)

    return stream


def test_registered_sampler_orders_the_batches_and_resumes(make_cfg):
    cfg = make_cfg(DATALOADER__SAMPLER_TRAIN="LastCameraFirst")
    loader = build_train_loader(cfg)
    batches = first_batches(loader, 6)  # 32 images: an epoch is 4 batches
    assert [set(batch["camids"].tolist()) for batch in batches] == [{1}, {1}, {0}, {0}, {1}, {1}]
    resumed = build_train_loader(cfg)
    resumed.start_at(3)
    assert_same(first_batches(resumed, 3), batches[3:])


def test_unknown_sampler_names_the_nearest(make_cfg):
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN; did you mean 'LastCameraFirst'\?"):
        make_cfg(DATALOADER__SAMPLER_TRAIN="LastCamerafirst")


@pytest.fixture
def given(tmp_path):
    """Write 12 images that no data set lists: 3 identities, 2 cameras."""
    return [
        (str(write_image(tmp_path / f"{identity}_{camera}_{i}.png", seed=i)), f"p{identity}", "c")
        for identity, camera, i in itertools.product(range(3), range(2), range(2))
    ]


def test_given_items_are_loaded_in_their_order(make_cfg, given):
    cfg = make_cfg(SOLVER__IMS_PER_BATCH=4)
    loader = build_train_loader(cfg, TrainingItems.given(given))
    assert loader.dataset.num_classes == 3
    assert {path for batch in first_batches(loader, 9) for path in batch["img_paths"]} == {
        path for path, _, _ in given
    }
    batches = list(build_items_loader(cfg, given))
    assert [path for batch in batches for path in batch["img_paths"]] == [g[0] for g in given]
    assert (
        torch.cat([batch["targets"] for batch in batches]).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    )


LABELS = np.arange(32) % 5 - (np.arange(32) % 5 == 4) * 5  # every fifth image is left out


def test_relabel_gives_new_identities_at_any_iteration(make_cfg):
    cfg = make_cfg()
    loader = build_train_loader(cfg)
    paths = loader.dataset.img_items.paths
    first_batches(loader, 2)
    loader.relabel(LABELS, iteration=5)
    batches = first_batches(loader, 4)
    of_path = dict(zip(paths, LABELS.tolist(), strict=True))
    for batch in batches:
        assert batch["targets"].tolist() == [of_path[path] for path in batch["img_paths"]]
        assert batch["targets"].min() >= 0
        assert len(batch["targets"].unique()) == 4  # 4 identities x 2, by the new identities
    resumed = build_train_loader(cfg)
    resumed.load_state_dict(loader.state_dict())
    resumed.start_at(7)
    assert_same(first_batches(resumed, 2), batches[2:])


def test_relabel_repeats_neither_augmentation_nor_order(make_cfg):
    loader = build_train_loader(make_cfg(DATALOADER__SAMPLER_TRAIN="TrainingSampler"))
    before = first_batches(loader, 4)
    loader.relabel(loader.dataset.targets, iteration=4)
    after = first_batches(loader, 4)
    loader.relabel(loader.dataset.targets, iteration=8)
    later = first_batches(loader, 4)
    seeds = [seed for batch in (*before, *after, *later) for seed in batch["seeds"].tolist()]
    assert len(set(seeds)) == len(seeds) == 96
    orders = [[p for batch in part for p in batch["img_paths"]] for part in (before, after, later)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    of_path: dict[str, list[torch.Tensor]] = {}
    for batch in (*before, *after, *later):
        for path, image in zip(batch["img_paths"], batch["images"], strict=True):
            of_path.setdefault(path, []).append(image)
    repeats = [images for images in of_path.values() if torch.equal(images[0], images[1])]
    assert len(repeats) < len(of_path) / 4


def test_relabel_refuses_labels_of_wrong_length(make_cfg):
    loader = build_train_loader(make_cfg())
    with pytest.raises(ValueError, match=r"a label for each of 32 training images, got .*\(3,\)"):
        loader.relabel([0, 1, 2], iteration=0)
    with pytest.raises(ValueError, match="a batch needs 4 different identities"):
        loader.relabel(np.arange(32) % 2, iteration=0)
    loader.relabel(LABELS, iteration=5)
    with pytest.raises(ValueError, match=r"expected a position >= 40 in the stream, got 32"):
        loader.start_at(4)


def test_joined_loaders_give_each_batch_and_resume(make_cfg, given):
    cfg = make_cfg()
    small = make_cfg(SOLVER__IMS_PER_BATCH=4)

    def joined() -> JoinedLoaders:
        target = build_train_loader(small, TrainingItems.given(given))
        return JoinedLoaders({"source": build_train_loader(cfg), "target": target})

    loader = joined()
    assert (len(loader.dataset), loader.seed) == (32, 7)
    batches = first_batches(loader, 5)
    assert [len(batches[0][name]["images"]) for name in ("source", "target")] == [8, 4]
    assert_same([batch["source"] for batch in batches], first_batches(build_train_loader(cfg), 5))
    seeds = {name: batches[0][name]["seeds"][:4].tolist() for name in ("source", "target")}
    assert not set(seeds["source"]) & set(seeds["target"])  # not augmented alike
    resumed = joined()
    resumed.start_at(3)
    for name, batch in itertools.product(("source", "target"), [0, 1]):
        assert_same([first_batches(resumed, 2)[batch][name]], [batches[3 + batch][name]])


class InfraredIsFlipped:
    """Transform that treats the modalities differently."""

    takes_origin = True

    def __call__(self, image: Image.Image, origin: Origin) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return tensor.flip(2) if origin.modality else tensor


@pytest.fixture
def two_sets(tmp_path):
    """Write a visible set and one with infrared camera 3."""
    write_market(tmp_path / "Market-1501-v15.09.15", cameras=(1, 2))
    write_market(tmp_path / "RenderedVI", cameras=(1, 3))
    return tmp_path


def test_origin_is_in_batches_and_transforms(make_cfg, two_sets):
    cfg = make_cfg(root=two_sets, DATASETS__NAMES=("RenderedVI", "Market1501"))
    loader = build_train_loader(cfg, transform=InfraredIsFlipped())
    found = set()
    for batch in first_batches(loader, 12):
        for path, image, domain, modality in zip(
            batch["img_paths"], batch["images"], batch["domains"], batch["modalities"], strict=True
        ):
            is_infrared = "RenderedVI" in path and "_c3" in path
            assert (domain, modality) == ("Market" in path, is_infrared)
            plain = torch.from_numpy(np.array(read_rgb(path))).permute(2, 0, 1).float()
            assert torch.equal(image, plain.flip(2) if is_infrared else plain)
            found.add((int(domain), int(modality)))
    assert found == {(0, 0), (0, 1), (1, 0)}
    tests = list(build_test_loader(cfg, "RenderedVI")[0])
    paths = [path for batch in tests for path in batch["img_paths"]]
    modalities = torch.cat([batch["modalities"] for batch in tests])
    assert modalities.tolist() == [int("_c3" in path or "_c6" in path) for path in paths]


def test_domains_count_each_name_once(make_cfg, two_sets):
    cfg = make_cfg(root=two_sets, DATASETS__NAMES=("Market1501", "RenderedVI"))
    training = training_items(cfg)
    assert training.domains.tolist() == [0] * 32 + [1] * 32
    assert training.modalities.sum() == 16


def test_clean_view_is_the_resized_image(make_cfg):
    cfg = make_cfg(
        INPUT__CLEAN_VIEW__SIZE=[24, 24],
        SOLVER__IMS_PER_BATCH=4,
        DATALOADER__NUM_WORKERS=1,
    )
    batch = first_batches(build_train_loader(cfg), 1)[0]
    assert batch["clean_images"].dtype == torch.float32
    for path, image in zip(batch["img_paths"], batch["clean_images"], strict=True):
        resized = read_rgb(path).resize((24, 24), Image.Resampling.BICUBIC)
        assert torch.equal(image, torch.from_numpy(np.array(resized)).permute(2, 0, 1).float())


def test_clean_view_of_one_number_is_refused(make_cfg):
    with pytest.raises(ValueError, match=r"CLEAN_VIEW\.SIZE \[height, width\].*got \[128\]"):
        make_cfg(INPUT__CLEAN_VIEW__SIZE=[128])
