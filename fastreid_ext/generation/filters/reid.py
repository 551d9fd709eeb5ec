"""Re-ID filter: drawings against the mean features of the photographs.

Letters: N images, D feature dimension, P persons. Features are L2-normalised here, each alone, so
that one bright image does not rule a mean; similarities are cosines in [-1, 1].

A photograph is compared with the mean of the *other* photographs of its person, because a drawing
is no part of the mean it is compared with either. With itself in the mean, one of two photographs
that have nothing in common would still have a similarity of 0.71, and a threshold from such numbers
would refuse good drawings of persons with few photographs.

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, "Re-ID CTF", https://arxiv.org/abs/2406.06045. Measure and threshold are
    not published; these are ours.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Person = tuple[str, int]  # source_dataset and person_id of a row
Floats = NDArray[np.float32]

# Of a drawing whose person has no photograph: the least possible values.
NO_SIMILARITY, NO_MARGIN = -1.0, -2.0
# Of a drawing whose person is the only one: the largest possible value.
NO_OTHER = 2.0


@dataclasses.dataclass(frozen=True)
class SourceFeatures:
    """What the photographs of P persons look like to a Re-ID model.

    Attributes:
        persons: P, each once.
        means: (P, D) float32, of norm 1.
        owners: (N,) index in ``persons`` of each photograph.
        similarities: (N,) float32, each photograph to the mean of the others of its person; NaN
            for the only one of a person.
        fingerprint: of the model and the photographs.
        trained_on: names of the data sets whose photographs the model was trained on.
        unseen: data set to similarities (M,) of photographs that the model was not trained on, each
            to the mean of the others of its person; only those that were computed.
    """

    persons: tuple[Person, ...]
    means: Floats
    owners: NDArray[np.int64]
    similarities: Floats
    fingerprint: str = ""
    trained_on: tuple[str, ...] = ()
    unseen: Mapping[str, Floats] = dataclasses.field(default_factory=dict)

    def real_similarities(self, data_set: str) -> Floats:
        """Return those of the photographs of one data set that are known."""
        is_of_set = np.array([person[0] == data_set for person in self.persons])
        own = self.similarities[is_of_set[self.owners]]
        return own[~np.isnan(own)]

    def unseen_similarities(self, data_set: str) -> Floats | None:
        """Return similarities of photographs the model was not trained on; None if not computed.

        A model knows its training photographs better than others of the same persons, so their
        similarities are too high for a threshold.
        """
        if data_set in self.trained_on:
            return self.unseen.get(data_set)
        return self.real_similarities(data_set)

    def data_sets(self) -> list[str]:
        """Return the names of the data sets, sorted."""
        return sorted({data_set for data_set, _ in self.persons})


def source_features_of(
    features: Floats, labels: Sequence[Person], fingerprint: str = ""
) -> SourceFeatures:
    """Make means and similarities of photographs.

    Args:
        features: (N, D), N >= 1.
        labels: N persons.
        fingerprint: see :class:`SourceFeatures`.
    """
    persons = tuple(sorted(set(labels)))
    index = {person: number for number, person in enumerate(persons)}
    owners = np.array([index[label] for label in labels], dtype=np.int64)
    unit = normalised(features)
    sums = np.zeros((len(persons), unit.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, unit)
    others = normalised(sums[owners] - unit)
    similarities = (unit * others).sum(axis=1)
    similarities[np.bincount(owners)[owners] == 1] = np.nan
    return SourceFeatures(persons, normalised(sums), owners, similarities, fingerprint)


def by_data_set(sources: Iterable[SourceFeatures]) -> dict[str, SourceFeatures]:
    """Map each data set to the features among which its persons are."""
    return {data_set: source for source in sources for data_set in source.data_sets()}


def reid_scores(
    features: Floats, persons: Sequence[Person], source: SourceFeatures
) -> tuple[Floats, Floats]:
    """Compare drawings with the mean features of their persons and of all others.

    Args:
        features: (N, D).
        persons: N, whom each drawing should show.
        source: of the photographs.

    Returns:
        Similarity (N,) to the person's mean, and margin (N,): that similarity minus the largest to
        another person's mean; negative if another person is nearer.
    """
    index = {person: number for number, person in enumerate(source.persons)}
    similarity = np.full(len(persons), NO_SIMILARITY, dtype=np.float32)
    margin = np.full(len(persons), NO_MARGIN, dtype=np.float32)
    known = np.array([n for n, person in enumerate(persons) if person in index], dtype=np.int64)
    if not len(known):
        return similarity, margin
    own = np.array([index[persons[n]] for n in known])
    to_all = normalised(features[known]) @ source.means.T  # (known, P)
    rows = np.arange(len(known))
    similarity[known] = to_all[rows, own]
    to_all[rows, own] = -np.inf
    nearest_other = to_all.max(axis=1)
    is_alone = len(source.persons) == 1
    margin[known] = NO_OTHER if is_alone else similarity[known] - nearest_other
    return similarity, margin


def normalised(features: Floats) -> Floats:
    """Return rows of norm 1; a row of zeros stays."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(norms, 1e-12)).astype(np.float32)
