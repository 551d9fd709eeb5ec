import numpy as np
import pytest

from fastreid_ext.generation.filters.reid import (
    NO_MARGIN,
    NO_OTHER,
    NO_SIMILARITY,
    reid_scores,
    source_features_of,
)

A = ("S", 1)
B = ("S", 2)
C = ("T", 1)


@pytest.fixture
def random_case():
    rng = np.random.default_rng(0)
    labels = [A] * 4 + [B] * 3 + [C] * 2
    return rng.normal(size=(9, 5)).astype(np.float32), [labels[i] for i in rng.permutation(9)]


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def unit(x):
    return x / np.linalg.norm(x)


def test_similarity_of_real_images_equals_a_slow_loop(random_case):
    features, labels = random_case
    found = source_features_of(features, labels).similarities
    for i, label in enumerate(labels):
        others = [unit(features[j]) for j in range(9) if labels[j] == label and j != i]
        assert found[i] == pytest.approx(cosine(features[i], np.mean(others, axis=0)), abs=1e-5)


def test_real_image_is_not_part_of_its_own_mean():
    """Two unrelated real images have similarity 0, not cos 45 degrees."""
    features = np.eye(2, dtype=np.float32)
    source = source_features_of(features, [A, A])
    assert source.similarities.tolist() == [0, 0]
    with_itself = [cosine(feature, source.means[0]) for feature in features]
    assert with_itself == pytest.approx([0.7071, 0.7071], abs=1e-4)
    # An image like the first real one is compared with a mean that does not contain it.
    source_of_half = source_features_of(features[1:], [A])
    assert reid_scores(features[:1], [A], source_of_half)[0] == 0


def test_only_image_of_an_identity_has_no_similarity():
    source = source_features_of(np.eye(3, dtype=np.float32), [A, B, B])
    assert np.isnan(source.similarities[0])
    assert source.real_similarities("S").tolist() == [0, 0]


def test_real_similarities_are_selected_by_data_set(random_case):
    source = source_features_of(*random_case)
    assert source.data_sets() == ["S", "T"]
    assert len(source.real_similarities("S")) == 7
    assert len(source.real_similarities("T")) == 2


def test_similarity_and_margin_by_hand():
    # Means: A along x, B along y, C along z.
    source = source_features_of(np.eye(3, dtype=np.float32), [A, B, C])
    generated = np.array([[3, 0, 4], [0, 2, 0], [0, 2, 0]], dtype=np.float32)
    similarity, margin = reid_scores(generated, [A, B, A], source)
    np.testing.assert_allclose(similarity, [0.6, 1, 0], atol=1e-6)
    np.testing.assert_allclose(margin, [0.6 - 0.8, 1 - 0, 0 - 1], atol=1e-6)


def test_reid_scores_equal_a_slow_loop(random_case):
    features, labels = random_case
    source = source_features_of(features, labels)
    generated = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    identities = [A, B, C, C, A, B]
    similarity, margin = reid_scores(generated, identities, source)
    for i, identity in enumerate(identities):
        means = {
            other: np.mean(
                [unit(f) for f, label in zip(features, labels, strict=True) if label == other],
                axis=0,
            )
            for other in (A, B, C)
        }
        own = cosine(generated[i], means.pop(identity))
        assert similarity[i] == pytest.approx(own, abs=1e-5)
        best = max(cosine(generated[i], mean) for mean in means.values())
        assert margin[i] == pytest.approx(own - best, abs=1e-5)


def test_norm_of_a_feature_does_not_matter(random_case):
    features, labels = random_case
    lengths = np.random.default_rng(2).uniform(1e-3, 1e3, (9, 1)).astype(np.float32)
    first = source_features_of(features, labels)
    second = source_features_of(features * lengths, labels)
    np.testing.assert_allclose(first.means, second.means, atol=1e-5)
    np.testing.assert_allclose(first.similarities, second.similarities, atol=1e-5)


def test_identity_without_real_images_gets_the_lowest_scores():
    source = source_features_of(np.eye(2, dtype=np.float32), [A, B])
    similarity, margin = reid_scores(np.eye(2, dtype=np.float32), [C, B], source)
    assert similarity.tolist() == [NO_SIMILARITY, 1]
    assert margin.tolist() == [NO_MARGIN, 1]


def test_margin_of_the_only_identity():
    source = source_features_of(np.eye(2, dtype=np.float32)[:1], [A])
    assert reid_scores(np.eye(2, dtype=np.float32), [A, A], source)[1].tolist() == [NO_OTHER] * 2


def test_zero_feature_has_similarity_zero():
    source = source_features_of(np.eye(2, dtype=np.float32), [A, B])
    similarity, margin = reid_scores(np.zeros((1, 2), np.float32), [A], source)
    assert similarity.tolist() == [0]
    assert margin.tolist() == [0]
