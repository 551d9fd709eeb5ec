"""Pose-changed images as positives: pairing, poses kept, mistakes, and batches of pairs."""

import numpy as np
import pytest
import torch

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.positives import Positives, read_positives
from fastreid_ext.data.preflight import preflight
from fastreid_ext.manifest import GeneratedImage, GeneratedSet, sha256_of, write_identity, write_set

from .conftest import write_image, write_market

POSES = ("front", "back")
STAGE_2 = {
    "MODEL__META_ARCHITECTURE": "ContrastivePretrain",
    "MODEL__HEADS__NAME": "ProjectionHead",
    "MODEL__HEADS__EMBEDDING_DIM": 8,
    "MODEL__LOSSES__NAME": ("MultiPositiveContrastiveLoss",),
    "INPUT__VIEWS__RECIPE": "pose",
    "INPUT__CHANNEL__MODES": ["exchange"],
    "INPUT__REA__ENABLED": False,
    "DATALOADER__SAMPLER_TRAIN": "TrainingSampler",
    "DATALOADER__NUM_WORKERS": 0,
    "DATASETS__NAMES": ("Market1501",),
    "DATASETS__TESTS": (),
    "SOLVER__IMS_PER_BATCH": 2,
}


def write_posed(root, sources, source="Market1501", status="ok"):
    """Write a set with an image in each of POSES per identity.

    Args:
        sources: names of the source images of each identity.
    """
    for pid, names in sources.items():
        rows = []
        for number, pose in enumerate(POSES):
            file = write_image(root / f"{pid:04d}" / f"{pose}.jpg", seed=10 * pid + number)
            rows.append(
                GeneratedImage(
                    file_name=file.name,
                    source_dataset=source,
                    person_id=pid,
                    seed=number,
                    model_ids=("tiny@1",),
                    status=status,
                    reason="" if status == "ok" else "a test",
                    sha256=sha256_of(file),
                    source_images=tuple(names),
                    conditions={"pose": pose},
                )
            )
        write_identity(root / f"{pid:04d}", rows)
    write_set(root, GeneratedSet(generator="tests 1.0"))
    return root


@pytest.fixture
def market(tmp_path):
    write_market(tmp_path / "data" / "Market-1501-v15.09.15", train=(1, 2, 3))
    return tmp_path / "data"


def names_of(training):
    """Return names of the images relative to their data set, by identity."""
    found = {}
    for path, pid, _ in training.items:
        found.setdefault(int(pid.split("_")[1]), []).append("/".join(path.split("/")[-2:]))
    return found


def test_positives_by_image_are_those_that_name_it(make_cfg, market, tmp_path):
    names = names_of(training_items(make_cfg(market, DATASETS__NAMES=("Market1501",))))
    first = {pid: own[:1] for pid, own in names.items()}
    root = write_posed(tmp_path / "posed", first)
    cfg = make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(root)], **STAGE_2)
    training = training_items(cfg)
    positives = read_positives(cfg, training)
    for index, (path, pid, _) in enumerate(training.items):
        number = int(pid.split("_")[1])
        own = list(positives.paths[positives.bounds[index] : positives.bounds[index + 1]])
        is_first = path.endswith(first[number][0])
        assert own == [str(root / f"{number:04d}" / f"{pose}.jpg") for pose in POSES if is_first]
    assert positives.have_some.sum() == 3


def test_positives_by_identity_are_those_of_all_its_images(make_cfg, market, tmp_path):
    root = write_posed(tmp_path / "posed", {1: [], 2: [], 3: []})
    keys = {"ROOTS": [str(root)], "PAIRED_BY": "identity", "POSES": ["back"]}
    changes = {f"DATASETS__POSITIVES__{key}": value for key, value in keys.items()}
    cfg = make_cfg(market, **changes, **STAGE_2)
    training = training_items(cfg)
    positives = read_positives(cfg, training)
    assert positives.have_some.all()
    rng = np.random.default_rng(0)
    for index, (_, pid, _) in enumerate(training.items):
        number = int(pid.split("_")[1])
        assert positives.sample(index, rng) == str(root / f"{number:04d}" / "back.jpg")


def test_positives_are_equally_likely():
    positives = Positives.of([["a"], ["b", "c", "d"], []])
    rng = np.random.default_rng(3)
    counts = np.unique([positives.sample(1, rng) for _ in range(3000)], return_counts=True)
    assert counts[0].tolist() == ["b", "c", "d"]
    assert np.abs(counts[1] - 1000).max() < 100
    with pytest.raises(IndexError, match="image 2 has no pose-changed image; sample those"):
        positives.sample(2, rng)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"status": "rejected"}, {}, "no image there has status ok; loosen the filters"),
        ({}, {"POSES": ["sitting"]}, r"POSES is \['sitting'\] but the poses there are back, front"),
        ({"source": "MSMT17"}, {}, "made from MSMT17, by image; train on those data sets, or set"),
        ({"source": "MSMT17"}, {"PAIRED_BY": "identity"}, "by identity; .*PAIRED_BY to image"),
        ({"source": ""}, {"PAIRED_BY": "identity"}, "POSITIVES.PAIRED_BY identity needs a reg"),
    ],
)
def test_positives_that_fit_no_image_are_explained(
    make_cfg, market, tmp_path, options, changes, message
):
    root = write_posed(tmp_path / "posed", {1: ["bounding_box_train/x.jpg"]}, **options)
    changes = {f"DATASETS__POSITIVES__{key}": value for key, value in changes.items()}
    cfg = make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(root)], **changes, **STAGE_2)
    with pytest.raises(ValueError, match=message):
        read_positives(cfg, training_items(cfg))


def test_batches_hold_images_with_a_positive_and_grey_positives(make_cfg, market, tmp_path, caplog):
    names = names_of(training_items(make_cfg(market, DATASETS__NAMES=("Market1501",))))
    root = write_posed(tmp_path / "posed", {pid: own for pid, own in names.items() if pid != 2})
    cfg = make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(root)], SEED=0, **STAGE_2)
    loader = build_train_loader(cfg)
    assert f"{len(names[2])} of {sum(map(len, names.values()))} training images" in caplog.text
    batches = iter(loader)
    seen = set()
    for _ in range(8):
        batch = next(batches)
        assert batch["views"] == 2
        anchors, positives = batch["images"].unflatten(0, (2, 2))
        assert torch.equal(positives[:, 0], positives[:, 1])  # one channel for all three
        assert not torch.equal(anchors[:, 0], anchors[:, 1])
        seen.update(path.split("/")[-1][:4] for path in batch["img_paths"])
    assert seen == {"0001", "0003"}


def test_preflight_names_damaged_positives_and_counts_images_without(make_cfg, market, tmp_path):
    names = names_of(training_items(make_cfg(market, DATASETS__NAMES=("Market1501",))))
    root = write_posed(tmp_path / "posed", {pid: own for pid, own in names.items() if pid != 2})
    (root / "0001" / "back.jpg").write_bytes(b"\xff\xd8 and no more")
    report = preflight(make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(root)], **STAGE_2))
    assert [text.split(" cannot")[0] for text in report.problems] == [f"{root}/0001/back.jpg"]
    assert any("4 of 12 training images have no pose-changed image" in w for w in report.warnings)
    gone = make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(tmp_path / "gone")], **STAGE_2)
    assert ["no generated set at" in text for text in preflight(gone).problems] == [True]


def test_a_run_resumes_with_the_same_pairs(make_cfg, market, tmp_path):
    names = names_of(training_items(make_cfg(market, DATASETS__NAMES=("Market1501",))))
    root = write_posed(tmp_path / "posed", names)
    cfg = make_cfg(market, DATASETS__POSITIVES__ROOTS=[str(root)], SEED=0, **STAGE_2)
    batches = iter(build_train_loader(cfg))
    third = [next(batches) for _ in range(3)][2]
    loader = build_train_loader(cfg)
    loader.start_at(2)
    again = next(iter(loader))
    assert again["img_paths"] == third["img_paths"]
    assert torch.equal(again["images"], third["images"])
