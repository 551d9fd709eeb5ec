import numpy as np
import pytest

from fastreid_ext.bodies.body_model import BodyModel, load_body


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The shipped free body."""
    return load_body()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
