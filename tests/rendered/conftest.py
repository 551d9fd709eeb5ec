import json
from pathlib import Path

import pytest

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
