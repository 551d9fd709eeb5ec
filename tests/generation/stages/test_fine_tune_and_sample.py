"""A group of identities is fine-tuned, sampled and shown."""

from fastreid.config import get_cfg

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.stages.fine_tune_and_sample import _GroupWork
from fastreid_ext.generation.stages.job import Job


def test_look_sees_the_first_generated_identities_once(tmp_path):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    seen = []
    failing = {"a": "no luck", "b": ""}
    work = _GroupWork(
        job=Job(cfg, Worker(output=tmp_path)),
        fine_tune=lambda names: {name: failing.get(name, "") for name in names},
        sample=lambda names: {},
        without_set={},
        look=seen.append,
    )
    assert work(["a"]) == {"a": "no luck"}
    assert seen == []
    work(["a", "b"])
    work(["c"])
    assert seen == [["b"]]
