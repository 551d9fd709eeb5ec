"""result.json holds what tables need, as JSON."""

import json

from fastreid_ext.engine.results import by_test_set, write_result


def test_one_test_set_gets_its_name_and_several_keep_theirs(make_cfg):
    cfg = make_cfg()
    assert by_test_set(cfg, {"mAP": 5}) == {"Market1501": {"mAP": 5.0}}
    assert by_test_set(cfg, {"A": {"mAP": 5}, "B": {}}) == {"A": {"mAP": 5.0}}
    assert by_test_set(cfg, {}) == {}


def test_not_a_number_becomes_null(make_cfg, tmp_path):
    cfg = make_cfg()
    (tmp_path / "run").mkdir()
    path = write_result(cfg, {"A": {"mAP": float("nan")}}, {"total_seconds": 1.5}, "result.json")
    content = json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)
    assert content["metrics"] == {"A": {"mAP": None}}
    assert content["timings"] == {"total_seconds": 1.5}
    assert content["config"]["DATASETS"]["TESTS"] == ["Market1501"]
