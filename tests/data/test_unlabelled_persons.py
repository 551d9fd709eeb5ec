"""Folders and lists of images without labels, and pre-training on labelled sets."""

import os

import pytest
import torch

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.image_files import images_below
from fastreid_ext.data.preflight import preflight

from .conftest import write_image, write_market

# Small crops of every image, two views of each.
PRETRAINING = {
    "MODEL__META_ARCHITECTURE": "SimCLRPretrain",
    "MODEL__HEADS__NAME": "ProjectionHead",
    "MODEL__HEADS__EMBEDDING_DIM": 8,
    "MODEL__LOSSES__NAME": ("NTXentLoss",),
    "INPUT__VIEWS__RECIPE": "independent",
    "INPUT__VIEWS__COUNT": 2,
    "DATALOADER__SAMPLER_TRAIN": "TrainingSampler",
    "DATASETS__TESTS": (),
    "SOLVER__IMS_PER_BATCH": 4,
}


@pytest.fixture
def unlabelled_cfg(make_cfg):
    def unlabelled_cfg(folder, root="", **changes):
        keys = PRETRAINING | {"DATASETS__NAMES": ("UnlabelledPersons",)}
        return make_cfg(root, DATASETS__FOLDER=str(folder), **(keys | changes))

    return unlabelled_cfg


@pytest.fixture
def folder(tmp_path):
    """Write five images in folders of different depth, and other files."""
    names = ("b.png", "a.JPG", "x/1.jpeg", "x/y z/2.jpg", "x/y z/3.webp", ".hidden/4.jpg", ".5.jpg")
    for index, name in enumerate(names):
        path = tmp_path / "people" / name
        write_image(path.with_suffix(".jpg"), seed=index)
        path.with_suffix(".jpg").rename(path)
    (tmp_path / "people" / "notes.txt").write_text("none")
    return tmp_path / "people"


def test_unlabelled_image_is_an_identity(unlabelled_cfg, folder):
    items = training_items(unlabelled_cfg(folder)).items
    found = [os.path.relpath(path, folder) for path, _, _ in items]
    assert found == ["a.JPG", "b.png", "x/1.jpeg", "x/y z/2.jpg", "x/y z/3.webp"]
    assert [pid for _, pid, _ in items] == [f"unlabelledpersons_{n}" for n in range(5)]
    assert {camid for _, _, camid in items} == {"unlabelledpersons_0"}


def test_unlabelled_loader_gives_views_of_different_images(unlabelled_cfg, folder):
    cfg = unlabelled_cfg(folder)
    assert preflight(cfg).ok
    batch = next(iter(build_train_loader(cfg)))
    assert batch["views"] == 2
    assert batch["images"].shape[0] == len(batch["targets"]) == 8
    assert torch.equal(batch["targets"][:4], batch["targets"][4:])


def test_unlabelled_folder_below_the_root(unlabelled_cfg, folder):
    cfg = unlabelled_cfg("people", root=folder.parent)
    assert len(training_items(cfg).items) == 5


def test_unlabelled_list_of_images(unlabelled_cfg, folder, tmp_path):
    file = tmp_path / "some.txt"
    file.write_text(f"people/x/1.jpeg\n\n{folder}/b.png\n")
    items = training_items(unlabelled_cfg(file)).items
    assert sorted(path for path, _, _ in items) == [f"{folder}/b.png", f"{folder}/x/1.jpeg"]


def test_unlabelled_subset_of_the_images(unlabelled_cfg, folder):
    cfg = unlabelled_cfg(folder, DATASETS__SUBSET="small_scale_40")
    assert len(training_items(cfg).items) == 2
    assert (folder / "subsets/people/small_scale_40_seed0.txt").is_file()


def test_unlabelled_set_with_a_labelled_set(unlabelled_cfg, folder, tmp_path):
    write_market(tmp_path / "data" / "Market-1501-v15.09.15", train=(1, 2))
    names = ("Market1501", "UnlabelledPersons")
    cfg = unlabelled_cfg(folder, root=tmp_path / "data", DATASETS__NAMES=names)
    items = training_items(cfg).items
    assert len({pid for _, pid, _ in items}) == 2 + 5


def test_contrastive_pretraining_on_a_labelled_set(make_cfg, tmp_path):
    write_market(tmp_path / "data" / "Market-1501-v15.09.15", train=(1, 2))
    cfg = make_cfg(tmp_path / "data", DATASETS__NAMES=("Market1501",), **PRETRAINING)
    assert preflight(cfg).ok
    assert next(iter(build_train_loader(cfg)))["views"] == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", r"no folder at .*nowhere \(DATASETS\.FOLDER of UnlabelledPersons\)"),
        ("nowhere.txt", r"no list at .*nowhere\.txt \(DATASETS\.FOLDER of UnlabelledPersons\)"),
        ("empty", r"expected images \(\.jpg, .* below .*empty \(DATASETS\.FOLDER\), got none"),
    ],
)
def test_unlabelled_folder_without_images(unlabelled_cfg, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    cfg = unlabelled_cfg(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=message):
        training_items(cfg)
    assert not preflight(cfg).ok


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected the path of an image in each line, got an empty file"),
        (b"\xff\xfe\x00", "expected a text file"),
        (b"a.jpg 17\n", r"list\.txt:1: expected .* got 'a\.jpg 17'; give the path alone"),
        (b"a.jpg\n\na.jpg\n", r"list\.txt:3: 'a\.jpg' is already in line 1; remove one"),
    ],
)
def test_unlabelled_list_with_mistakes(unlabelled_cfg, tmp_path, content, message):
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        training_items(unlabelled_cfg(file))


def test_unlabelled_list_names_missing_or_damaged_images(unlabelled_cfg, folder, tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("people/b.png\npeople/gone.jpg\n")
    (folder / "b.png").write_bytes(b"\x89PNG and no more")
    report = preflight(unlabelled_cfg(file, SOLVER__IMS_PER_BATCH=2))
    assert [text.split(" cannot")[0] for text in report.problems] == [
        f"{folder}/b.png",
        f"{folder}/gone.jpg",
    ]


def test_unlabelled_folder_that_has_gone(tmp_path):
    with pytest.raises(OSError, match=r"cannot read the folder .*gone \(No such file or directory"):
        list(images_below(tmp_path / "gone"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unlabelled_folder_that_cannot_be_read(unlabelled_cfg, folder):
    (folder / "x").chmod(0)
    try:
        with pytest.raises(OSError, match=r"cannot read the folder .*x \(Permission denied\)"):
            training_items(unlabelled_cfg(folder))
    finally:
        (folder / "x").chmod(0o755)
