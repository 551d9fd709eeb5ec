import pytest

from measuring.scale import METHODS, batch_times, measured_memory, paths
from measuring.start import measured_folder, measured_start


@pytest.mark.slow
def test_arrays_take_less_than_tuples_and_workers_share_them():
    memory = {name: measured_memory(name, 200_000, 80, 1) for name in METHODS}
    for arrays in METHODS[1:]:
        assert memory[arrays].process / 0.2 < 0.15  # GB per million images
        assert memory[arrays].worker / 0.2 < 0.01
    assert memory["arrays"].process < memory["tuples"].process / 2
    assert memory["arrays"].worker < memory["tuples"].worker / 2


def test_paths_are_different_and_of_the_length_asked_for():
    made = list(paths(3000, 40))
    assert len(set(made)) == 3000
    assert {len(path) for path in made} == {40}


def test_every_law_is_timed():
    times = batch_times(5000, 1000, 2)
    assert list(times) == ["LargeNaive", "LargeBalanced", "LargeOncePerIdentity"]
    assert all(batch > 0 and enter > 0 for batch, enter in times.values())


@pytest.mark.slow
def test_start_on_a_list_needs_memory_for_its_paths_only():
    found = measured_start(100_000, 80)
    assert set(found) == {"check", "list", "loader", "first image", "image of epoch 299", "peak GB"}
    assert found["peak GB"] / 0.1 < 0.4  # GB per million images
    assert found["image of epoch 299"] < 1


def test_folder_is_listed_and_opened():
    listed, opened = measured_folder(20)
    assert listed > 0
    assert opened > 0
