"""The stage of fine-tuning: which identities it takes, and what must exist first."""

import pytest
from fastreid.config import get_cfg

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.stages.fine_tuning import fine_tune
from fastreid_ext.generation.stages.job import Job

PROMPTS = {name: Prompts("a photo of sks person", "a photo of person") for name in "abcd"}


@pytest.fixture
def job(tmp_path):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    job = Job(cfg, Worker(output=tmp_path))
    vars(job).update(prompts=PROMPTS, clusters={"a": "c1"})  # as if they had been read
    return job


def test_select_takes_all_identities_or_those_named(job):
    assert job.select([]) == ["a", "b", "c", "d"]
    assert job.select(["c", "a"]) == ["c", "a"]


def test_select_refuses_unknown_identities(job):
    words = r"unknown --persons x, y; captioned identities of this job: a, b, c, \.\.\.$"
    with pytest.raises(ValueError, match=words):
        job.select(["y", "a", "x"])
    vars(job)["prompts"] = {}
    with pytest.raises(ValueError, match=r"captioned identities of this job: none$"):
        job.select(["x"])


def test_fine_tune_needs_the_reference_sets_first(job):
    with pytest.raises(FileNotFoundError, match=r"a has no reference set in .*c1; run tools/gener"):
        fine_tune(job, ["a", "b"])
