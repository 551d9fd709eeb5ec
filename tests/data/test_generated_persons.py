import itertools
import json
from collections import Counter

import pytest

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.manifest import GeneratedImage, GeneratedSet, sha256_of, write_identity, write_set

from .conftest import write_image


def write_generated(root, identities, images=4, source="Market1501", **changes):
    """Write a generated set: ``images`` ok rows of each identity, a rejected and a failed one."""
    for identity in identities:
        folder = root / f"{source.lower()}_{identity:04d}"
        rows = []
        for index in range(images + 2):
            status = "ok" if index < images else ("rejected", "failed")[index - images]
            name = f"{index:04d}.jpg"
            file = write_image(folder / name, seed=index) if status != "failed" else None
            values = {
                "file_name": name,
                "source_dataset": source,
                "person_id": identity,
                "seed": index,
                "model_ids": ("tiny@1",),
                "status": status,
                "reason": "" if status == "ok" else "a test",
                "sha256": sha256_of(file) if file else "",
                "camera_id": index % 3,
                "source_camera_id": 1,
            }
            rows.append(GeneratedImage(**values | changes))
        write_identity(folder, rows)
    write_set(root, GeneratedSet(generator="tests 1.0"))
    return root


def items_of(make_cfg, *roots, names=("GeneratedPersons",), **changes):
    keys = {f"DATASETS__GENERATED__{name}": value for name, value in changes.items()}
    cfg = make_cfg(
        DATASETS__NAMES=names, DATASETS__GENERATED__ROOTS=[str(root) for root in roots], **keys
    )
    return training_items(cfg)


def persons_of(training):
    return Counter(pid for _, pid, _ in training.items)


def test_generated_set_new_identities_are_distinct(make_cfg, tmp_path):
    first = write_generated(tmp_path / "a", [1, 2])
    second = write_generated(tmp_path / "b", [1])
    training = items_of(make_cfg, first, second, PERSON_IDS="new")
    assert persons_of(training) == {
        "generated0_market1501_0001": 4,
        "generated0_market1501_0002": 4,
        "generated1_market1501_0001": 4,
    }
    assert all(training.is_generated)
    assert {len(item) for item in training.items} == {3}


def test_generated_set_kept_identities_join_the_real_set(make_cfg, tmp_path):
    generated = write_generated(tmp_path, [1, 2])
    names = ("Market1501", "GeneratedPersons")
    training = items_of(make_cfg, generated, names=names, PERSON_IDS="kept")
    counts = persons_of(training)
    assert len(counts) == 8
    assert (counts["market1501_1"], counts["market1501_2"], counts["market1501_3"]) == (8, 8, 4)
    assert sum(training.is_generated) == 8


@pytest.mark.parametrize(
    ("rule", "cameras"),
    [
        ("row", ["generated0_0", "generated0_1", "generated0_2", "generated0_0"]),
        ("source", ["market1501_1"] * 4),
        ("single", ["generated0"] * 4),
        ("per_image", [f"generated0_market1501_0001/000{i}.jpg" for i in range(4)]),
    ],
)
def test_generated_set_camera_rules(make_cfg, tmp_path, rule, cameras):
    training = items_of(make_cfg, write_generated(tmp_path, [1]), CAMERA_RULE=rule)
    assert [camera for _, _, camera in training.items] == cameras


@pytest.mark.parametrize(("rule", "key"), [("row", "camera_id"), ("source", "source_camera_id")])
def test_generated_set_row_without_camera_is_named(make_cfg, tmp_path, rule, key):
    generated = write_generated(tmp_path, [1], **{key: -1})
    text = rf"metadata\.jsonl:1: expected {key} >= 0 for .*CAMERA_RULE {rule}, .*e\.g\. single"
    with pytest.raises(ValueError, match=text):
        items_of(make_cfg, generated, CAMERA_RULE=rule)


def test_generated_set_kept_identity_of_an_unknown_set(make_cfg, tmp_path):
    generated = write_generated(tmp_path, [1], source="Markt")
    text = (
        r"metadata\.jsonl:1: DATASETS.GENERATED.PERSON_IDS kept needs a registered .*, got 'Markt'"
    )
    with pytest.raises(ValueError, match=text):
        items_of(make_cfg, generated, PERSON_IDS="kept")


def test_generated_set_cap_counts_over_all_sets(make_cfg, tmp_path):
    first = write_generated(tmp_path / "a", [1, 2], images=6)
    second = write_generated(tmp_path / "b", [2], images=6)
    options = {"PERSON_IDS": "kept", "MAX_PER_IDENTITY": 3}
    training = items_of(make_cfg, first, second, **options)
    assert persons_of(training) == {"market1501_1": 3, "market1501_2": 3}
    assert items_of(make_cfg, first, second, **options) == training


def test_generated_set_cap_does_not_depend_on_the_folder(make_cfg, tmp_path):
    chosen = []
    for place in ("here", "elsewhere"):
        generated = write_generated(tmp_path / place, [1], images=9)
        training = items_of(make_cfg, generated, MAX_PER_IDENTITY=4)
        chosen.append([path.rsplit("/", 1)[1] for path, _, _ in training.items])
    assert chosen[0] == chosen[1]


def test_generated_set_total_is_spread_and_nested(make_cfg, tmp_path):
    first = write_generated(tmp_path / "a", [1, 2, 3], images=5)
    second = write_generated(tmp_path / "b", [4], images=1)
    chosen = {}
    for most in (2, 6, 8, 100, 0):
        training = items_of(make_cfg, first, second, MAX_IMAGES=most)
        chosen[most] = {path for path, _, _ in training.items}
        assert len(training.items) == min(most or 16, 16)
        counts = persons_of(training)
        assert max(counts.values()) - min(n for pid, n in counts.items() if pid[9] == "0") <= 1
    assert chosen[2] < chosen[6] < chosen[8] < chosen[100] == chosen[0]
    assert len({path.rsplit("/", 2)[1] for path in chosen[6]}) == 4


def test_generated_set_broken_row_is_named(make_cfg, tmp_path):
    generated = write_generated(tmp_path, [1])
    manifest = generated / "market1501_0001" / "metadata.jsonl"
    lines = manifest.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {"sead": 1})
    manifest.write_text("\n".join(lines))
    text = r"market1501_0001/metadata\.jsonl:3: unknown name 'sead' in .*; did you mean 'seed'\?"
    with pytest.raises(ValueError, match=text):
        items_of(make_cfg, generated)


def test_generated_set_missing_folder_is_named(make_cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no generated set at .*nowhere"):
        items_of(make_cfg, tmp_path / "nowhere")


def test_generated_set_relative_folder_below_the_root(make_cfg, tmp_path):
    write_generated(tmp_path / "made", [1])
    cfg = make_cfg(
        tmp_path, DATASETS__NAMES=("GeneratedPersons",), DATASETS__GENERATED__ROOTS=["made"]
    )
    assert len(training_items(cfg).items) == 4


@pytest.mark.parametrize("person_ids", ["kept", "new"])
def test_train_loader_keeps_the_share_of_generated_images(make_cfg, tmp_path, person_ids):
    cfg = make_cfg(
        DATASETS__NAMES=("Market1501", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[str(write_generated(tmp_path, range(1, 9)))],
        DATASETS__GENERATED__PERSON_IDS=person_ids,
        DATASETS__GENERATED__BATCH_SHARE=0.5,
    )
    loader = build_train_loader(cfg)
    assert loader.dataset.num_classes == {"kept": 8, "new": 16}[person_ids]
    for batch in itertools.islice(loader, 10):
        assert sum(str(tmp_path) in path for path in batch["img_paths"]) == 4
        assert sorted(Counter(batch["targets"].tolist()).values()) == [2] * 4


def test_share_is_refused_with_balanced_samplers(make_cfg, tmp_path):
    cfg = make_cfg(
        DATASETS__NAMES=("Market1501", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[str(write_generated(tmp_path, [1]))],
        DATASETS__GENERATED__BATCH_SHARE=0.5,
        DATALOADER__SAMPLER_TRAIN="ImbalancedDatasetSampler",
    )
    with pytest.raises(ValueError, match=r"BATCH_SHARE 0.5 decides what a batch holds, and so doe"):
        build_train_loader(cfg)


@pytest.mark.parametrize("sampler", ["TrainingSampler", "BalancedIdentitySampler"])
def test_generated_items_work_with_all_samplers(make_cfg, tmp_path, sampler):
    cfg = make_cfg(
        DATASETS__NAMES=("Market1501", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[str(write_generated(tmp_path, range(1, 9)))],
        DATALOADER__SAMPLER_TRAIN=sampler,
    )
    assert next(iter(build_train_loader(cfg)))["images"].shape == (8, 3, 32, 16)
