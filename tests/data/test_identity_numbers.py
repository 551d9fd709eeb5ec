"""Range of the numbers of identities, equal for all readers."""

import json
from pathlib import Path

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

import fastreid_ext  # noqa: F401
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.published_splits import published_choice
from fastreid_ext.identity_numbers import LARGEST, number_problem
from fastreid_ext.manifest import GeneratedSet, read_set, write_identity, write_set

from ..test_manifest import image_row
from .conftest import write_image


def read_table(folder: Path, number: str) -> list:
    write_image(folder / "a.jpg")
    table = folder / "persons.csv"
    table.write_text(f"file_name,person_id,camera_id,split\na.jpg,{number},0,query\n")
    return [pid for _, pid, _ in DATASET_REGISTRY.get("PersonTable")(table=str(table)).query]


def read_folder(folder: Path, number: str) -> list:
    write_image(folder / "query" / f"{number}_c1s1_000000_00.jpg")
    return [pid for _, pid, _ in DATASET_REGISTRY.get("PersonFolder")(folder=str(folder)).query]


def read_rand_person(folder: Path, number: str) -> list:
    write_image(folder / "randperson_subset" / f"{number}_s00_c01_f000001.jpg")
    items = DATASET_REGISTRY.get("RandPerson")(root=str(folder)).train
    return [int(pid.removeprefix("randperson_")) for _, pid, _ in items]


def read_list(folder: Path, number: str) -> list:
    file = folder / "list.txt"
    file.write_text(f"{number}\n")
    named = named_items([("a.jpg", f"set_{number}", "set_0")], Path())
    return [int(number) for _ in published_choice(file, "Set", named)]


def read_given(folder: Path, number: str) -> list:
    return ItemArrays.of([(str(folder / "a.jpg"), int(number), 0)]).pids.tolist()


def read_generated(folder: Path, number: str) -> list:
    own = folder / "set_1"
    write_identity(own, [image_row(own, person_id=1)])
    write_set(folder, GeneratedSet(generator="tests 1.0", counts={"ok": 1}))
    (manifest,) = own.glob("*.jsonl")
    row = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(row | {"person_id": int(number)}) + "\n")
    return [row.image.person_id for row in read_set(folder)[1]]


READERS = (read_table, read_folder, read_rand_person, read_list, read_given, read_generated)
WITH_JUNK = (read_folder, read_given)
# File names of these sets cannot hold a sign.
UNSIGNED = (read_rand_person, read_list)


@pytest.mark.parametrize("read", READERS)
def test_identity_numbers_up_to_the_largest_are_read(read, tmp_path):
    for number in (0, 12345678901, LARGEST):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert read(folder, str(number)) == [number]


@pytest.mark.parametrize("read", READERS)
def test_identity_numbers_too_large_are_refused(read, tmp_path):
    with pytest.raises(
        ValueError, match=rf": expected a whole .* to {LARGEST} as .*'{LARGEST + 1}'"
    ):
        read(tmp_path, str(LARGEST + 1))


@pytest.mark.parametrize("read", [read for read in READERS if read not in UNSIGNED])
def test_identity_numbers_negative_only_for_junk(read, tmp_path):
    lowest = -1 if read in WITH_JUNK else 0
    with pytest.raises(ValueError, match=rf": expected a whole number from {lowest} .* got '-2'"):
        read(tmp_path, "-2")


@pytest.mark.parametrize("value", ["", "-", "1.0", "²", "\u0661", "1e3", " 1", "9" * 9000, 1.0])
def test_identity_numbers_other_text_is_refused(value):
    assert number_problem(value, "identity").endswith(f" as identity, got '{value}'")


def test_identity_numbers_ignore_leading_zeros():
    assert number_problem("0" * 6000 + "7", "identity") == ""
    assert number_problem("-0", "identity") == ""
    assert number_problem("0", "camera", lowest=1).startswith("a whole number from 1 to ")
