"""Division of the training images among the processes; test_pseudo_labels.py has the rest."""

import pytest

from fastreid_ext.engine.training_features import images_of_each


@pytest.mark.parametrize(("images", "processes", "share"), [(10, 4, 3), (1, 1, 1), (8, 4, 2)])
def test_every_process_gets_images(images, processes, share):
    assert images_of_each(images, processes) == share


@pytest.mark.parametrize("images", [3, 5, 6, 9])
def test_processes_without_images_are_refused(images):
    """Of 9 images four processes take 3 each, and the last has none."""
    with pytest.raises(ValueError, match=f"each of 4 processes, got {images} in all, .* fewer pro"):
        images_of_each(images, 4)
