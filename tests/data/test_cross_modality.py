"""P identities of K visible and K infrared images in every batch, or a reason."""

import itertools
from collections import Counter

import numpy as np
import pytest

from fastreid_ext.config import load_config
from fastreid_ext.data.build import _stream, build_train_loader
from fastreid_ext.data.configured_sets import TrainingItems
from fastreid_ext.data.cross_modality import cross_modality_batches, cross_modality_problems
from fastreid_ext.data.item_arrays import ItemArrays

from .conftest import write_market

# 6 identities with 1 to 6 visible and 3 infrared images each
PIDS = np.concatenate([[pid] * (pid + 1 + 3) for pid in range(6)])
MODALITIES = np.concatenate([[0] * (pid + 1) + [1] * 3 for pid in range(6)])


@pytest.mark.parametrize("world_size", [1, 2])
def test_counts_of_every_batch(world_size):
    stream = cross_modality_batches(
        PIDS, MODALITIES, batch_size=8, instances=4, world_size=world_size
    )(seed=3)
    order = list(itertools.islice(stream, 8 * world_size * 30))
    for first in range(0, len(order), 8 * world_size):
        together = order[first : first + 8 * world_size]
        for rank in range(world_size):
            own = together[rank::world_size]
            counts = Counter((PIDS[index], MODALITIES[index]) for index in own)
            assert set(counts.values()) == {2}
            assert len(counts) == 4  # two identities, two modalities
            assert len({pid for pid, _ in counts}) == 2
        assert len({PIDS[index] for index in together}) == 2 * world_size


def test_all_images_come_and_an_epoch_has_every_identity():
    stream = cross_modality_batches(PIDS, MODALITIES, batch_size=8, instances=4)(seed=0)
    order = list(itertools.islice(stream, 8 * 60))
    assert set(order) == set(range(len(PIDS)))
    assert {PIDS[index] for index in order[:24]} == set(range(6))


def test_images_of_a_modality_repeat_only_where_there_are_too_few():
    stream = cross_modality_batches(PIDS, MODALITIES, batch_size=8, instances=4)(seed=0)
    for _ in range(20):
        batch = [next(stream) for _ in range(8)]
        doubled = {index for index, count in Counter(batch).items() if count > 1}
        assert all(PIDS[index] == 0 and MODALITIES[index] == 0 for index in doubled)


def test_order_depends_on_the_seed_alone():
    stream = cross_modality_batches(PIDS, MODALITIES, batch_size=8, instances=4)
    orders = [list(itertools.islice(stream(seed), 64)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": None}, "no set of DATASETS.NAMES has a modality_of"),
        ({"modalities": MODALITIES * (PIDS != 4)}, "1 of 6 have no infrared image (4); remove"),
        (
            {"modalities": np.where(PIDS > 3, 1, MODALITIES)},
            "2 of 6 have no visible image (4, 5); remove these identities or add images",
        ),
        ({"instances": 3, "batch_size": 9}, "expected an even DATALOADER.NUM_INSTANCE"),
        ({"batch_size": 10}, "a multiple of DATALOADER.NUM_INSTANCE 4 times 1 processes, got 10"),
        ({"world_size": 3, "batch_size": 16}, "4 times 3 processes, got 16; use 12"),
        ({"batch_size": 32}, "needs 8 different identities (SOLVER.IMS_PER_BATCH 32"),
    ],
)
def test_batches_that_cannot_be_filled(changes, message):
    options = {"modalities": MODALITIES, "batch_size": 8, "instances": 4, **changes}
    problems = cross_modality_problems(PIDS, **options)
    assert len(problems) == 1
    assert message in problems[0]


def test_no_problem():
    assert cross_modality_problems(PIDS, MODALITIES, batch_size=8, instances=4) == []


def configured(batch_size=8, instances=4):
    keys = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.BACKBONE.FEAT_DIM", 0]
    keys += ["DATALOADER.SAMPLER_TRAIN", "CrossModalitySampler"]
    keys += ["SOLVER.IMS_PER_BATCH", batch_size, "DATALOADER.NUM_INSTANCE", instances]
    return load_config("", keys)


def training(modalities):
    items = ItemArrays.of([(f"{i}.jpg", f"set_{pid}", "set_c1") for i, pid in enumerate(PIDS)])
    return TrainingItems(items, [("set", len(items))], [], modalities)


def test_sampler_is_built_from_the_configuration():
    stream = _stream(configured(), training(MODALITIES), 1)
    assert sum(MODALITIES[index] for index in itertools.islice(stream(0), 8)) == 4


def test_configuration_names_the_identity_that_lacks_a_modality():
    lacking = MODALITIES * (PIDS != 4)
    with pytest.raises(ValueError, match=r"1 of 6 have no infrared image \(set_4\)"):
        _stream(configured(), training(lacking), 1)


@pytest.mark.parametrize(
    ("batch_size", "instances", "message"),
    [
        (9, 3, "expected an even DATALOADER.NUM_INSTANCE for CrossModalitySampler"),
        (10, 4, "expected SOLVER.IMS_PER_BATCH to be a multiple of DATALOADER.NUM_INSTANCE"),
    ],
)
def test_configuration_is_refused(batch_size, instances, message):
    with pytest.raises(ValueError, match=message):
        configured(batch_size, instances)


@pytest.fixture
def vi_cfg(make_cfg, tmp_path):
    """Write 8 identities with two images by the visible and two by the infrared camera."""
    write_market(tmp_path / "RenderedVI", cameras=(1, 3))
    return make_cfg(
        tmp_path,
        DATASETS__NAMES=("RenderedVI",),
        DATALOADER__SAMPLER_TRAIN="CrossModalitySampler",
        DATALOADER__NUM_INSTANCE=4,
    )


def test_relabelled_images_keep_their_modality(vi_cfg):
    loader = build_train_loader(vi_cfg)
    labels = loader.dataset.targets // 2  # four clusters of two identities
    labels[labels == 3] = -1
    loader.relabel(labels, iteration=3)
    for batch in itertools.islice(iter(loader), 6):
        counts = Counter(zip(batch["targets"].tolist(), batch["modalities"].tolist(), strict=True))
        assert set(counts.values()) == {2}
        assert len({label for label, _ in counts}) == 2
        assert -1 not in batch["targets"]
        assert all(
            ("_c3" in path) == m
            for path, m in zip(batch["img_paths"], batch["modalities"], strict=True)
        )


def test_a_cluster_of_one_modality_is_named(vi_cfg):
    loader = build_train_loader(vi_cfg)
    labels = loader.dataset.targets.copy()
    labels[(labels == 2) & (loader.dataset.modalities == 1)] = 4
    with pytest.raises(ValueError, match=r"1 of 8 have no infrared image \(2\)"):
        loader.relabel(labels, iteration=0)
