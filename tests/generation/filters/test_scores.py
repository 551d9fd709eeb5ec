import numpy as np

from fastreid_ext.generation.filters.scores import identity_probabilities, training_name


def test_identity_probabilities_select_the_right_column():
    probabilities = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]], dtype=np.float32)
    identities = [("Market1501", 2), ("Market1501", 10), ("Market1501", 2)]
    classes = ["market1501_10", "market1501_2"]  # sorted as texts, as training does
    found = identity_probabilities(probabilities, identities, classes)
    np.testing.assert_array_equal(found, np.array([0.9, 0.3, 0.2], dtype=np.float32))


def test_identity_probabilities_of_an_unknown_identity():
    probabilities = np.ones((2, 1), dtype=np.float32)
    identities = [("MSMT17", 2), ("Market1501", 2)]
    assert identity_probabilities(probabilities, identities, ["market1501_2"]).tolist() == [-1, 1]


def test_training_name_equals_that_of_training_items():
    assert training_name(("RenderedCampus", 7)) == "renderedcampus_7"
    assert training_name(("", 7)) == "_7"
