import json
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.rendered.body_coordinates import Figure, measure
from fastreid_ext.rendered.dressing import free_body
from fastreid_ext.rendered.identities import Identity, sample_identity
from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.writer import render_domain

SMALL = {"train_identities": 4, "test_identities": 4, "images_per_identity": 6, "seed": 7}


@pytest.fixture(scope="session")
def small() -> dict:
    """Settings of the data set the tests share."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """RenderedVI, small, rendered in this process."""
    return render_domain(Settings("RenderedVI", **SMALL), tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="session")
def rows(rendered) -> list[dict]:
    """Its annotations."""
    return [json.loads(line) for line in (rendered / "annotations.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def figure() -> Figure:
    """The shipped body of mean shape, measured."""
    body, zone = free_body()
    return measure(body, np.zeros(10), zone)


@pytest.fixture(scope="session")
def identity() -> Identity:
    """Give an identity, to be changed with ``dataclasses.replace``."""
    return sample_identity(free_body()[0], 0, "RenderedVI", 1, 1)
