"""Re-ID filter: compare generated images with the mean features of the real images.

Letters: N images, D feature dimension, P identities. Each feature is L2-normalised first, so that
one image with a large feature does not dominate a mean; similarities are cosines in [-1, 1].

A real image is compared with the mean of the *other* real images of its identity, because a
generated image is not part of its mean either. With itself in the mean, one of two unrelated real
images would still have a similarity of 0.71, and a threshold from such numbers would reject good
generated images of identities with few real images.

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for IdentityKey Re-Identification
    Pre-Training", 2024, "Re-ID CTF", https://arxiv.org/abs/2406.06045. Measure and threshold are
    not published; these are ours.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

IdentityKey = tuple[str, int]  # source_dataset and person_id of a row
Floats = NDArray[np.float32]

# Scores of an image whose identity has no real image: the smallest possible values.
NO_SIMILARITY = -1.0
NO_MARGIN = -2.0
# Margin where there is only one identity: the largest possible value.
NO_OTHER = 2.0


@dataclasses.dataclass(frozen=True)
class SourceFeatures:
    """Features of the real images of P identities by a Re-ID model.

    Attributes:
        identities: keys of the P identities, each once.
        means: (P, D) float32 mean features of norm 1.
        identity_index: (N,) index in ``identities`` of each real image.
        similarities: (N,) float32 cosine of each real image to the mean of the others of its
            identity; NaN for an only image.
        fingerprint: hash of the model and of the names of the real images.
        trained_on: names of the data sets whose real images the model was trained on.
        unseen: data set -> (M,) similarities of real images that the model was not trained on, each
            to the mean of the others of its identity; only computed data sets are listed.
    """

    identities: tuple[IdentityKey, ...]
    means: Floats
    identity_index: NDArray[np.int64]
    similarities: Floats
    fingerprint: str = ""
    trained_on: tuple[str, ...] = ()
    unseen: Mapping[str, Floats] = dataclasses.field(default_factory=dict)

    def real_similarities(self, data_set: str) -> Floats:
        """Select the known similarities of the real images of one data set."""
        is_of_set = np.array([identity[0] == data_set for identity in self.identities])
        own = self.similarities[is_of_set[self.identity_index]]
        return own[~np.isnan(own)]

    def unseen_similarities(self, data_set: str) -> Floats | None:
        """Select similarities of images the model was not trained on; None if not computed.

        A model knows its training images better than others of the same identities, so their
        similarities are too high for a threshold.
        """
        if data_set in self.trained_on:
            return self.unseen.get(data_set)
        return self.real_similarities(data_set)

    def data_sets(self) -> list[str]:
        """List the names of the data sets, sorted."""
        return sorted({data_set for data_set, _ in self.identities})


def source_features_of(
    features: Floats, labels: Sequence[IdentityKey], fingerprint: str = ""
) -> SourceFeatures:
    """Compute means and similarities of real images.

    Args:
        features: (N, D) features of the images, N >= 1.
        labels: identity of each of the N images.
        fingerprint: hash of the model and of the names of the real images.

    Example:
        >>> source = source_features_of(np.eye(2, dtype=np.float32), [("Market1501", 2)] * 2)
        >>> source.similarities.tolist()
        [0.0, 0.0]
    """
    identities = tuple(sorted(set(labels)))
    index = {identity: number for number, identity in enumerate(identities)}
    identity_index = np.array([index[label] for label in labels], dtype=np.int64)
    unit = normalised(features)
    sums = np.zeros((len(identities), unit.shape[1]), dtype=np.float32)
    np.add.at(sums, identity_index, unit)
    others = normalised(sums[identity_index] - unit)
    similarities = (unit * others).sum(axis=1)
    similarities[np.bincount(identity_index)[identity_index] == 1] = np.nan
    return SourceFeatures(identities, normalised(sums), identity_index, similarities, fingerprint)


def by_data_set(sources: Iterable[SourceFeatures]) -> dict[str, SourceFeatures]:
    """Map each data set to the features that contain its identities."""
    return {data_set: source for source in sources for data_set in source.data_sets()}


def reid_scores(
    features: Floats, identities: Sequence[IdentityKey], source: SourceFeatures
) -> tuple[Floats, Floats]:
    """Compare generated images with the mean features of their identities and of all others.

    Args:
        features: (N, D) features of the generated images.
        identities: identity that each of the N images should show.
        source: features of the real images.

    Returns:
        Similarity (N,) to the identity's mean, and margin (N,): that similarity minus the largest
        to another identity's mean; negative if another identity is nearer.
    """
    index = {identity: number for number, identity in enumerate(source.identities)}
    similarity = np.full(len(identities), NO_SIMILARITY, dtype=np.float32)
    margin = np.full(len(identities), NO_MARGIN, dtype=np.float32)
    known = np.array(
        [n for n, identity in enumerate(identities) if identity in index], dtype=np.int64
    )
    if not len(known):
        return similarity, margin
    own = np.array([index[identities[n]] for n in known])
    to_all = normalised(features[known]) @ source.means.T  # (known, P)
    rows = np.arange(len(known))
    similarity[known] = to_all[rows, own]
    to_all[rows, own] = -np.inf
    nearest_other = to_all.max(axis=1)
    is_alone = len(source.identities) == 1
    margin[known] = NO_OTHER if is_alone else similarity[known] - nearest_other
    return similarity, margin


def normalised(features: Floats) -> Floats:
    """Scale rows to norm 1; a row of zeros stays zero."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(norms, 1e-12)).astype(np.float32)
