"""Lists of images as arrays, compared with the same lists of tuples."""

import os
import pickle

import numpy as np
import pytest

from fastreid_ext.data.item_arrays import ItemArrays, NumberedNames, TextArray

ITEMS = [("b.jpg", "m_10", "m_1"), ("a.jpg", "m_2", "m_0"), ("c.jpg", "m_10", "m_0")]


def test_text_array_returns_equal_strings():
    texts = ["a", "", "é/ü.jpg", os.fsdecode(b"not utf-8 \xff.jpg"), "z" * 300]
    array = TextArray.of(iter(texts))
    assert list(array) == [array[i] for i in range(len(array))] == texts
    assert array[-1] == texts[-1]
    assert list(array[1:3]) == texts[1:3]
    assert list(array[3:1]) == []
    assert list(array[::2]) == texts[::2]
    assert array[1:3].data is array.data
    assert pickle.loads(pickle.dumps(array)) == texts
    with pytest.raises(IndexError, match="expected an index below 5, got 5"):
        array[5]
    assert list(TextArray.of([])) == []


@pytest.mark.parametrize("numbers", [range(0), range(1), range(112), (7, 70, 700, 71, 8)])
def test_numbered_names_are_sorted_as_strings(numbers):
    names = NumberedNames("set_", np.array(numbers, int))
    assert list(names) == sorted(f"set_{number}" for number in numbers)
    assert names[:] == names


def test_item_arrays_behave_as_a_list_of_tuples():
    items = ItemArrays.of(iter(ITEMS))
    assert items == ITEMS
    assert list(items) == ITEMS
    assert [items[i] for i in (0, 1, -1)] == [ITEMS[i] for i in (0, 1, -1)]
    assert items[1:] == ITEMS[1:]
    assert items.sorted() == sorted(ITEMS)
    assert ItemArrays.of(items) is items
    assert items != ITEMS[:2]
    assert list(items.pid_names) == ["m_10", "m_2"]


def test_item_arrays_drop_names_without_images():
    items = ItemArrays.of(ITEMS).take([0, 2])
    assert items == [ITEMS[0], ITEMS[2]]
    codes, names = items.dense_pids()
    assert (codes.tolist(), list(names)) == ([0, 0], ["m_10"])


def test_item_arrays_numbers_have_dense_classes():
    items = ItemArrays.of([("a", np.int64(7), 3), ("b", -1, 1), ("c", 7, 1)])
    assert list(items) == [("a", 7, 3), ("b", -1, 1), ("c", 7, 1)]
    assert all(type(value) is int for item in items for value in item[1:])
    assert items.dense_pids()[0].tolist() == [1, 0, 1]


def test_item_arrays_refuse_strings_with_numbers():
    with pytest.raises(TypeError, match=r"all strings or all numbers, got both; give strings"):
        ItemArrays.of([*ITEMS, ("d.jpg", 3, 1)])


def test_item_arrays_numbered_images():
    paths = [f"{number}.jpg" for number in range(25)]
    items = ItemArrays.numbered(paths, "set_", "set_0")
    expected = [(path, f"set_{number}", "set_0") for number, path in enumerate(paths)]
    assert items == expected
    assert items.take([24, 3]) == [expected[24], expected[3]]
    assert list(items.pid_names) == sorted(pid for _, pid, _ in expected)


def test_item_arrays_joined_lists_share_names():
    other = [("d.jpg", "m_2", "n_0")]
    joined = ItemArrays.joined([ItemArrays.of(ITEMS), ItemArrays.of(other)])
    assert joined == ITEMS + other
    assert len(joined.pid_names) == 2


def test_item_arrays_of_a_million_images_take_little_memory():
    """Expect 120 bytes per image with paths of 80 bytes, so no Python object per image."""
    count = 10_000
    paths = (f"/data/{'x' * 60}/{number:010d}.jpg" for number in range(count))
    items = ItemArrays.numbered(paths, "set_", "set_0")
    assert len(items.paths[0]) == 81
    assert len(pickle.dumps(items)) / count < 81 + 8 + 4 + 4 + 4 + 4
