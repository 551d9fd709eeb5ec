"""Contradictions in the keys of Batch DropBlock."""

import re

import pytest

from ..tiny_cfg import tiny_cfg

BDB = {
    "MODEL.DEVICE": "cpu",
    "MODEL.META_ARCHITECTURE": "BDB",
    "MODEL.HEADS.NAME": "BDBHead",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
}


def load(**changes):
    return tiny_cfg(BDB, **changes)


def test_keys_have_the_papers_values():
    cfg = load()
    assert dict(cfg.MODEL.HEADS.BDB) == {
        "DROP_HEIGHT": 0.33,
        "DROP_WIDTH": 1.0,
        "GLOBAL_DIM": 512,
        "PART_DIM": 1024,
    }
    assert (cfg.INPUT.CUTOUT.ENABLED, cfg.INPUT.CUTOUT.PROB) == (False, 0.5)
    assert cfg.INPUT.CUTOUT.SIZE == [64, 64]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"MODEL__HEADS__NAME": "EmbeddingHead"},
            "together, got BDB and EmbeddingHead; start from",
        ),
        ({"MODEL__META_ARCHITECTURE": "Baseline"}, "together, got Baseline and BDBHead"),
        (
            {"MODEL__LOSSES__NAME": ("CircleLoss",)},
            "unknown name 'CircleLoss' in MODEL.LOSSES.NAME",
        ),
        (
            {"MODEL__HEADS__WITH_BNNECK": True},
            "WITH_BNNECK is True (default False) but is not read in this configuration, because "
            "MODEL.HEADS.NAME is BDBHead; remove it, or set MODEL.HEADS.NAME EmbeddingHead or",
        ),
        (
            {"MODEL__HEADS__CLS_LAYER": "CircleSoftmax"},
            "CLS_LAYER is CircleSoftmax (default Linear) but is not read in",
        ),
        ({"MODEL__HEADS__EMBEDDING_DIM": 512}, "EMBEDDING_DIM is 512 (default 0) but is not read"),
        ({"MODEL__HEADS__BDB__DROP_HEIGHT": 0.0}, "BDB.DROP_HEIGHT in (0, 1], got 0.0"),
        ({"MODEL__HEADS__BDB__DROP_HEIGHT": 1.0}, "of 1 drop the whole feature map; lower one"),
        ({"MODEL__HEADS__BDB__PART_DIM": 0}, "expected MODEL.HEADS.BDB.PART_DIM of at least 1"),
    ],
)
def test_mistakes_are_named_with_what_to_do(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(**changes)


def test_batch_of_the_sampler_holds_whole_persons():
    changes = {"DATALOADER__SAMPLER_TRAIN": "OncePerIdentitySampler", "SOLVER__IMS_PER_BATCH": 30}
    with pytest.raises(ValueError, match=r"multiple of DATALOADER\.NUM_INSTANCE, got 30 and 4"):
        load(**changes)
