import dataclasses
import json
import os
import resource
import subprocess
import sys

import pytest

from fastreid_ext.manifest import (
    GeneratedImage,
    GeneratedSet,
    read_identity,
    read_set,
    sha256_of,
    verify_set,
    write_identity,
    write_set,
)


def image_row(folder, name="0000.jpg", content=b"pixels", **changes):
    """A row with all kinds of values, its file written."""
    values = {
        "file_name": name,
        "source_dataset": "Market1501",
        "person_id": 2,
        "seed": 11,
        "model_ids": ("tiny-sd@1a2b",),
        "source_images": ("0002_c1s1_000451_03.jpg",),
        "source_camera_id": 0,
        "camera_id": 3,
        "prompt": "a photo of a person",
        "conditions": {"azimuth_deg": 90.0, "pose": "walking"},
        "steps": 30,
        "guidance": 7.5,
        "scores": {"reid": 0.71},
    } | changes
    if values.get("status") != "failed":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        values.setdefault("sha256", sha256_of(folder / name))
    return GeneratedImage(**values)


@pytest.fixture
def generated(tmp_path):
    """Two identities: one ok and one rejected image, one ok and one failed."""
    first = tmp_path / "market1501_0002"
    second = tmp_path / "market1501_0007"
    write_identity(
        first,
        [
            image_row(first),
            image_row(first, "0001.jpg", status="rejected", reason="reid score below 0.6"),
        ],
    )
    write_identity(
        second,
        [
            image_row(second, person_id=7),
            image_row(
                second, "0001.jpg", person_id=7, status="failed", reason="out of memory", scores={}
            ),
        ],
    )
    counts = {"ok": 2, "rejected": 1, "failed": 1}
    write_set(tmp_path, GeneratedSet(generator="tests 1.0", counts=counts))
    return tmp_path


def edit(path, line, change):
    lines = path.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines) + "\n")


def set_value(**changes):
    return lambda line: json.dumps(json.loads(line) | changes)


def test_what_was_written_is_read(generated):
    description, rows = read_set(generated)
    assert description.counts == {"ok": 2, "rejected": 1, "failed": 1}
    assert [row.image.status for row in rows] == ["ok", "rejected", "ok", "failed"]
    assert rows[0].image == image_row(generated / "market1501_0002")
    assert rows[0].path == generated / "market1501_0002" / "0000.jpg"
    assert rows[1].where == f"{generated / 'market1501_0002' / 'metadata.jsonl'}:2"
    assert rows[3].where == f"{generated / 'market1501_0007' / 'failures.jsonl'}:1"
    assert verify_set(generated) == []


def test_whole_numbers_keep_the_type_of_their_column(tmp_path):
    write_identity(tmp_path / "p", [image_row(tmp_path / "p", guidance=7, scores={"reid": 1})])
    line = (tmp_path / "p" / "metadata.jsonl").read_text()
    assert '"guidance": 7.0' in line
    assert '"reid": 1.0' in line


MANIFEST = "market1501_0002/metadata.jsonl"
OUTSIDE = r"metadata\.jsonl:1: expected file_name to be .* below the manifest's folder"


@pytest.mark.parametrize(
    ("line", "change", "text"),
    [
        (2, lambda line: line[:40], r"metadata\.jsonl:2: not JSON .*was the writer interrupted\?"),
        (1, lambda line: "", r"metadata\.jsonl:1: not JSON"),
        (1, lambda line: "[1]", r"metadata\.jsonl:1: expected a JSON object, got list"),
        (
            2,
            set_value(persn_id=2),
            r":2: unknown name 'persn_id' .*; did you mean 'person_id'\?",
        ),
        (
            2,
            set_value(zzz=2),
            r":2: unknown name 'zzz' in the keys .*; known: camera_id, ",
        ),
        (1, lambda _: '{"seed": 1}', r":1: missing keys \['file_name', 'model_ids', 'person_id'"),
        (1, set_value(steps="30"), r":1: expected steps as int, got '30' \(str\)"),
        (1, set_value(person_id=True), r":1: expected person_id as int, got True \(bool\)"),
        (1, set_value(person_id=2.0), r":1: expected person_id as int, got 2\.0 \(float\)"),
        (1, set_value(prompt=None), r":1: expected prompt as str, got None \(NoneType\)"),
        (1, set_value(model_ids="sd"), r":1: expected model_ids as a list of strings, got 'sd'"),
        (1, set_value(scores={"reid": "x"}), r":1: expected scores as an object of plain values"),
        (1, set_value(conditions=3), r":1: expected conditions as an object of plain values"),
        (1, lambda line: line.replace("7.5", "NaN"), r":1: not JSON \(NaN is no JSON number\)"),
        (1, lambda line: line.replace("7.5", "1e999"), r":1: expected guidance as float, got inf"),
        (1, set_value(file_name="../a.jpg"), OUTSIDE),
        (1, set_value(file_name="/etc/a.jpg"), OUTSIDE),
        (1, set_value(file_name="..\\a.jpg"), OUTSIDE),
        (1, set_value(file_name="a.txt"), OUTSIDE),
        (2, set_value(status="good"), r":2: expected status of ok, rejected, failed, got 'good'"),
        (2, set_value(reason=""), r":2: expected a reason for status 'rejected', got ''"),
        (1, set_value(sha256="abc"), r":1: expected sha256 of 64 lower-case hexadecimal digits"),
        (1, set_value(seed=-1), r":1: expected seed >= 0, got -1"),
        (
            1,
            set_value(camera_id=-2),
            r":1: expected .* from -1 to .* as camera_id, got '-2'",
        ),
        (2, set_value(file_name="0000.jpg"), r":2: file_name '0000.jpg' is already in line 1"),
        (2, set_value(person_id=3), r":2: expected identity 2 of 'Market1501' as in the first row"),
    ],
)
def test_broken_row_names_file_and_line(generated, line, change, text):
    edit(generated / MANIFEST, line, change)
    with pytest.raises(ValueError, match=text):
        read_set(generated)


def test_identity_in_two_folders_is_refused(generated):
    os.rename(generated / "market1501_0007", generated / "again")
    for name in ("metadata.jsonl", "failures.jsonl"):
        edit(generated / "again" / name, 1, set_value(person_id=2))
    with pytest.raises(ValueError, match=r"identity 2 of 'Market1501' is also in .*again; keep"):
        read_set(generated)


def test_folder_without_a_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no generated set at .*dataset\.json, which the"):
        read_set(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*; run the generator"):
        read_identity(tmp_path)


def test_other_schema_is_refused(generated):
    description = generated / "dataset.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"schema_version": 9}))
    with pytest.raises(ValueError, match=r"dataset\.json: expected schema_version 1, got 9; read"):
        read_set(generated)


def test_records_are_checked_when_made(tmp_path):
    with pytest.raises(ValueError, match=r"expected .* from 0 to .* as person_id, got '-1'"):
        image_row(tmp_path, person_id=-1)
    with pytest.raises(ValueError, match=r"sha256 of 0 lower-case .* for status 'failed'"):
        image_row(tmp_path, status="failed", reason="x", sha256="0" * 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        image_row(tmp_path).seed = 3


def test_unfinished_identity_has_no_manifest(tmp_path):
    folder = tmp_path / "p1"
    rows = [image_row(folder), image_row(folder, "0001.jpg", person_id=3)]
    with pytest.raises(ValueError, match="write each identity to its own folder"):
        write_identity(folder, rows)
    assert sorted(os.listdir(folder)) == ["0000.jpg", "0001.jpg"]


def test_failed_write_leaves_the_old_manifest(tmp_path):
    folder = tmp_path / "p1"
    row = image_row(folder)
    write_identity(folder, [row])
    before = (folder / "metadata.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # bytes; a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            write_identity(folder, [dataclasses.replace(row, seed=99)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "metadata.jsonl").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["0000.jpg", "metadata.jsonl"]


def test_verification_names_each_difference(generated):
    (generated / "market1501_0002" / "0000.jpg").write_bytes(b"other")
    (generated / "market1501_0002" / "0001.jpg").unlink()
    (generated / "market1501_0007" / "extra.png").write_bytes(b"?")
    (generated / "unfinished").mkdir()
    edit(generated / "market1501_0007/metadata.jsonl", 1, set_value(scores={"clip": 0.5}))
    write_set(generated, GeneratedSet(generator="tests 1.0", counts={"ok": 3}))
    found = "\n".join(verify_set(generated))
    for text in (
        "0000.jpg has another sha256",
        "0001.jpg is missing",
        "extra.png: image without a row",
        "unfinished: no metadata.jsonl",
        "dataset.json counts {'ok': 3}, the rows are {'ok': 2, 'rejected': 1, 'failed': 1}",
        "scores has different keys: ['reid']",
    ):
        assert text in found
    assert len(found.splitlines()) == 6


def test_layout_follows_the_rules_of_imagefolder(generated):
    """The rules of `datasets`: a row for each image beside it, equal columns, no nulls."""
    columns = set()
    for manifest in generated.glob("*/metadata.jsonl"):
        rows = [json.loads(line) for line in manifest.read_text().splitlines()]
        assert all((manifest.parent / row["file_name"]).is_file() for row in rows)
        images = {path.name for path in manifest.parent.glob("*.jpg")}
        assert images == {row["file_name"] for row in rows}
        columns |= {tuple((k, type(v).__name__) for k, v in row.items()) for row in rows}
        assert all(value is not None for row in rows for value in row.values())
    assert len(columns) == 1


def test_layout_opens_in_datasets(generated, tmp_path_factory):
    pytest.importorskip("datasets", reason="needs the package datasets")
    import datasets

    opened = datasets.load_dataset(
        "imagefolder", data_dir=str(generated), cache_dir=str(tmp_path_factory.mktemp("cache"))
    )["train"].cast_column("image", datasets.Image(decode=False))
    assert sorted(opened["person_id"]) == [2, 2, 7]
    assert opened[0]["scores"] == {"reid": 0.71}


def test_needs_neither_torch_nor_fastreid():
    # Through the file system, because the package itself repairs fastreid when imported.
    code = (
        "import sys, types; package = types.ModuleType('fastreid_ext');"
        "package.__path__ = [sys.argv[1]]; sys.modules['fastreid_ext'] = package;"
        "import fastreid_ext.manifest; assert not {'torch', 'fastreid', 'numpy'} & set(sys.modules)"
    )
    import fastreid_ext

    package = os.path.dirname(fastreid_ext.__file__)
    subprocess.run([sys.executable, "-c", code, package], check=True)
