import pytest
import torch
from fastreid.config import get_cfg
from fastreid.evaluation import ReidEvaluator

from fastreid_ext.evaluation.evaluator import CountingEvaluator

NUM_QUERY = 12


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(150) % 6
    centres = torch.randn(6, 8, generator=generator)
    features = centres[pids] + torch.randn(150, 8, generator=generator)
    camids = torch.randint(0, 4, (150,), generator=generator)
    return [
        ({"targets": pids[part], "camids": camids[part]}, features[part])
        for part in torch.arange(150).split(16)
    ]


def evaluate(evaluator_class, batches, *overrides):
    cfg = get_cfg()
    cfg.merge_from_list(list(overrides))
    evaluator = evaluator_class(cfg, NUM_QUERY)
    evaluator.reset()
    for inputs, outputs in batches:
        evaluator.process(inputs, outputs)
    return evaluator.evaluate()


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("TEST.METRIC", "euclidean"),
        ("TEST.AQE.ENABLED", True),
        ("TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 6),
        ("TEST.ROC.ENABLED", True),
    ],
)
def test_gives_fastreids_numbers(batches, overrides):
    ours = evaluate(CountingEvaluator, batches, *overrides)
    theirs = evaluate(ReidEvaluator, batches, *overrides)
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(dict(theirs), abs=1e-4)
    assert 5 < ours["mAP"] < 100


def test_an_empty_test_set_is_named():
    with pytest.raises(ValueError, match="at least one query and one gallery image, got an empty"):
        evaluate(CountingEvaluator, [])
