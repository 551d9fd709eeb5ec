"""Stage 4 by itself: who is learned, and what must be there first."""

import pytest
from fastreid.config import get_cfg

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.stages.fine_tuning import named_persons, tune_persons_of_job

PROMPTS = {name: Prompts("a photo of sks person", "a photo of person") for name in "abcd"}


def test_all_or_those_named():
    assert named_persons([], PROMPTS) == ["a", "b", "c", "d"]
    assert named_persons(["c", "a"], PROMPTS) == ["c", "a"]
    with pytest.raises(ValueError, match=r"nobody of this job .* called x, y; there is a, b, c"):
        named_persons(["y", "a", "x"], PROMPTS)
    with pytest.raises(ValueError, match=r"is called x; there is nobody$"):
        named_persons(["x"], {})


def test_a_missing_reference_set_is_said_before_anything_is_done(tmp_path):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    with pytest.raises(FileNotFoundError, match=r"a has no reference set in .*c1; run tools/make_"):
        tune_persons_of_job(cfg, Worker(output=tmp_path), {}, PROMPTS, {"a": "c1"})
