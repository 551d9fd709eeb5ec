"""Classification filter (CCTF): the probability a classifier of the photographs gives the person.

Letters: N images, C classes.
"""

from collections.abc import Sequence

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from numpy.typing import NDArray

from fastreid_ext.generation.filters.reid import Person

NO_CLASS = -1.0  # of a drawing whose person the classifier has not learned


def own_probabilities(
    probabilities: NDArray[np.float32], persons: Sequence[Person], classes: Sequence[str]
) -> NDArray[np.float32]:
    """Return the probability of the right person of each drawing, -1 if it is no class.

    Args:
        probabilities: (N, C) in [0, 1].
        persons: N, whom each drawing should show.
        classes: C, the person of each class as fastreid's training items name it: "market1501_2".
    """
    index = {name: number for number, name in enumerate(classes)}
    columns = [index.get(training_name(person), -1) for person in persons]
    own = np.full(len(persons), NO_CLASS, dtype=np.float32)
    for row, column in enumerate(columns):
        if column >= 0:
            own[row] = probabilities[row, column]
    return own


def training_name(person: Person) -> str:
    """Return fastreid's name of a person, as ``DATASETS.GENERATED.PERSON_IDS kept`` makes it."""
    data_set, number = person
    try:
        return f"{DATASET_REGISTRY.get(data_set).dataset_name}_{number}"
    except KeyError:  # a set of somebody else's, of which no classifier knows
        return f"{data_set}_{number}"
