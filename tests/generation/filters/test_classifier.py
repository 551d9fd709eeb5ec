import numpy as np

from fastreid_ext.generation.filters.classifier import own_probabilities, training_name


def test_the_column_of_the_right_person_is_taken():
    probabilities = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]], dtype=np.float32)
    persons = [("Market1501", 2), ("Market1501", 10), ("Market1501", 2)]
    classes = ["market1501_10", "market1501_2"]  # sorted as texts, as training does
    found = own_probabilities(probabilities, persons, classes)
    np.testing.assert_array_equal(found, np.array([0.9, 0.3, 0.2], dtype=np.float32))


def test_a_person_the_classifier_has_not_learned_gets_minus_one():
    probabilities = np.ones((2, 1), dtype=np.float32)
    persons = [("MSMT17", 2), ("Market1501", 2)]
    assert own_probabilities(probabilities, persons, ["market1501_2"]).tolist() == [-1, 1]


def test_names_are_those_of_the_training_items():
    assert training_name(("RenderedCampus", 7)) == "renderedcampus_7"
    assert training_name(("", 7)) == "_7"
