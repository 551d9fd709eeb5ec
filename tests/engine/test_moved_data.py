"""A run continues after its data moved to another place, and not on other data there."""

import itertools
import shutil
from pathlib import Path

import pytest
from fastreid.config import CfgNode

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.engine import train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.results import plain
from fastreid_ext.engine.resume import RunIdentity
from fastreid_ext.engine.resumed_configuration import (
    recorded_run,
    refuse_changed_keys,
    refuse_other_labels,
)
from fastreid_ext.manifest import GeneratedImage, GeneratedSet, sha256_of, write_identity, write_set

from .tiny import assert_equal_checkpoints

NAMES = {
    "DATASETS.ROOT": "Market1501",
    "DATASETS.FOLDER": "PersonFolder",
    "DATASETS.TABLE": "PersonTable",
    "DATASETS.SETS": "Mine",
    "DATASETS.GENERATED.ROOTS": "GeneratedPersons",
}


@pytest.fixture
def place(market_root, tmp_path):
    """Return a function that copies Market-1501's tree to ``tmp_path / name``."""
    return lambda name: Path(shutil.copytree(market_root, tmp_path / name))


def folder_in(root: Path) -> Path:
    return next(path for path in root.iterdir() if path.name.startswith("Market"))


def write_table(root: Path) -> Path:
    """List the training images in a table, as another kind of data set."""
    lines = ["file_name,person_id,camera_id,split"]
    for file in sorted((folder_in(root) / "bounding_box_train").iterdir()):
        lines.append(f"{file.relative_to(root)},{file.name[:4]},{file.name[6]},train")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


def write_generated(root: Path) -> Path:
    """Describe the training images as a generated set."""
    files = sorted((folder_in(root) / "bounding_box_train").iterdir())
    for number, own in itertools.groupby(files, lambda file: int(file.name[:4])):
        folder = root / "generated" / f"market1501_{number:04d}"
        folder.mkdir(parents=True)
        rows = []
        for file in own:
            shutil.copy(file, folder)
            row = GeneratedImage(
                file_name=file.name,
                source_dataset="Market1501",
                person_id=number,
                seed=len(rows),
                model_ids=("tiny@1",),
                status="ok",
                sha256=sha256_of(file),
            )
            rows.append(row)
        write_identity(folder, rows)
    write_set(root / "generated", GeneratedSet(generator="tests 1.0"))
    return root / "generated"


def value_of(key: str, root: Path) -> object:
    """Return the value with which a key leads to the data in a place."""
    return {
        "DATASETS.ROOT": lambda: str(root),
        "DATASETS.FOLDER": lambda: str(folder_in(root)),
        "DATASETS.TABLE": lambda: str(write_table(root)),
        "DATASETS.SETS": lambda: [f"Mine={folder_in(root)}"],
        "DATASETS.GENERATED.ROOTS": lambda: [str(write_generated(root))],
    }[key]()


def configured(make_cfg, key: str, root: Path, **changes: object) -> CfgNode:
    data = {"DATASETS__NAMES": (NAMES[key],), key.replace(".", "__"): value_of(key, root)}
    return make_cfg(**data, **changes)


def labels_of(cfg: CfgNode) -> str:
    return RunIdentity.of(cfg, 6, build_train_loader(cfg).dataset).labels


def without_a_person(root: Path) -> None:
    """Take the training images of person 8 away."""
    for file in folder_in(root).glob("bounding_box_train/0008_*.jpg"):
        file.unlink()


def with_another_camera(root: Path) -> None:
    """Give one training image another camera; the numbers of images and persons stay."""
    file = next(folder_in(root).glob("bounding_box_train/0003_c1*.jpg"))
    file.rename(file.with_name(file.name.replace("_c1s1_", "_c2s2_")))


@pytest.mark.parametrize("key", NAMES)
def test_each_path_of_data_may_change_if_the_labels_agree(make_cfg, place, key):
    before = configured(make_cfg, key, place("before"))
    recorded = {"config": plain(before), "run": {"labels": labels_of(before)}}
    now = configured(make_cfg, key, place("now"))
    refuse_changed_keys(recorded["config"], now)
    refuse_other_labels(recorded, now, labels_of(now))
    fewer = place("fewer")
    without_a_person(fewer)
    other = configured(make_cfg, key, fewer)
    with pytest.raises(ValueError, match=rf"{key}: was .*before.*, is .*fewer") as error:
        refuse_other_labels(recorded, other, labels_of(other))
    message = str(error.value)
    assert "Expected 48 images of 8 identities, " in message
    assert "got 42 images of 7 identities, " in message
    assert "MODEL.WEIGHTS <its checkpoint>" in message


def test_a_run_on_moved_data_is_that_of_a_run_in_place(make_cfg, place):
    first = place("first")
    keys = {"DATALOADER__NUM_WORKERS": 0, "TEST__EVAL_PERIOD": 0}
    whole = configured(make_cfg, "DATASETS.FOLDER", first, output="whole", **keys)
    train(whole)
    train(configured(make_cfg, "DATASETS.FOLDER", first, SOLVER__MAX_EPOCH=1, **keys))
    second = place("second")
    shutil.rmtree(first)
    moved = configured(make_cfg, "DATASETS.FOLDER", second, **keys)
    train(moved, resume=True)
    assert_equal_checkpoints(whole.OUTPUT_DIR, moved.OUTPUT_DIR)
    final = read_checkpoint(Path(moved.OUTPUT_DIR) / "model_final.pth")
    assert final["config"]["DATASETS"]["FOLDER"] == str(folder_in(second))


def test_other_labels_at_the_new_place_stop_a_resumed_run(make_cfg, place):
    keys = {"DATALOADER__NUM_WORKERS": 0, "SOLVER__MAX_EPOCH": 1}
    train(configured(make_cfg, "DATASETS.FOLDER", place("before"), **keys))
    now = place("now")
    with_another_camera(now)
    moved = configured(make_cfg, "DATASETS.FOLDER", now, **keys | {"SOLVER__MAX_EPOCH": 2})
    kept = (Path(moved.OUTPUT_DIR) / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=r"Expected 48 images .* got 48 images of 8 identities"):
        train(moved, resume=True)
    assert (Path(moved.OUTPUT_DIR) / "config.yaml").read_bytes() == kept


def test_labels_that_changed_in_place_are_a_warning(make_cfg, place, caplog):
    cfg = configured(make_cfg, "DATASETS.FOLDER", place("same"))
    before = RunIdentity.of(cfg, 6, build_train_loader(cfg).dataset)
    with_another_camera(Path(cfg.DATASETS.FOLDER).parent)
    now = RunIdentity.of(cfg, 6, build_train_loader(cfg).dataset)
    refuse_other_labels({"config": plain(cfg), "run": vars(before)}, cfg, now.labels)
    now.warn_about_differences(vars(before))
    assert "not exact: the checkpoint's run had labels = 48 images of 8 identities" in caplog.text


def test_a_checkpoint_older_than_its_labels_is_not_compared(make_cfg, place):
    recorded = {"config": plain(configured(make_cfg, "DATASETS.FOLDER", place("before")))}
    now = configured(make_cfg, "DATASETS.FOLDER", place("now"))
    refuse_other_labels(recorded, now, "48 images of 8 identities, 0")
    refuse_other_labels(recorded | {"run": {}}, now, "48 images of 8 identities, 0")
    assert recorded_run(Path(now.OUTPUT_DIR)) == {}
