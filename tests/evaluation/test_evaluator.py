import multiprocessing

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm, compute_dist

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.evaluation.evaluator import CountingEvaluator
from fastreid_ext.evaluation.ranking import rank_distances
from fastreid_ext.evaluation.reranking import reranked_distances

NUM_QUERY = 12
LABELS = ("targets", "camids")


@pytest.fixture
def batches():
    return random_batches()


def random_batches():
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
    add_fastreid_ext_config(cfg)
    cfg.merge_from_list(list(overrides))
    evaluator = evaluator_class(cfg, NUM_QUERY)
    evaluator.reset()
    for inputs, outputs in batches:
        evaluator.process(inputs, outputs)
    return evaluator.evaluate()


@pytest.fixture
def _host_searches_on_the_cpu(monkeypatch):
    """fastreid's evaluator asks faiss for a GPU."""
    original = compute_dist.compute_jaccard_distance

    def on_the_cpu(features, k1, k2, search_option):
        return original(features, k1=k1, k2=k2, search_option=3)

    monkeypatch.setattr(compute_dist, "compute_jaccard_distance", on_the_cpu)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("TEST.METRIC", "euclidean"),
        ("TEST.AQE.ENABLED", True),
        ("TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 6),
        ("TEST.RERANK.ENABLED", True, "TEST.METRIC", "euclidean", "TEST.RERANK.LAMBDA", 0.01),
        ("TEST.RERANK.ENABLED", True, "TEST.AQE.ENABLED", True, "TEST.ROC.ENABLED", True),
        ("TEST.ROC.ENABLED", True),
    ],
)
@pytest.mark.usefixtures("_host_searches_on_the_cpu")
def test_evaluator_equals_fastreids(batches, overrides):
    ours = evaluate(CountingEvaluator, batches, *overrides)
    theirs = evaluate(ReidEvaluator, batches, *overrides)
    market = ours.pop("mAP (market)")
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(dict(theirs), abs=1e-4)
    assert 5 < market < ours["mAP"] < 100


@pytest.mark.parametrize("rule", ["evaluator", "released"])
def test_evaluator_reranks_by_the_rule_of_the_configuration(batches, rule):
    keys = ("TEST.RERANK.ENABLED", True, "TEST.RERANK.RULE", rule, "TEST.RERANK.K1", 6)
    found = evaluate(CountingEvaluator, batches, *keys)
    features = torch.cat([outputs for _, outputs in batches])
    ids = [torch.cat([inputs[key] for inputs, _ in batches]) for key in LABELS]
    labels = [part for values in ids for part in (values[:NUM_QUERY], values[NUM_QUERY:])]
    halves = (features[:NUM_QUERY], features[NUM_QUERY:])
    expected = rank_distances(reranked_distances(*halves, k1=6, rule=rule), *labels)
    assert found["mAP"] == pytest.approx(100 * expected.mAP)


def test_evaluator_names_an_empty_test_set():
    with pytest.raises(ValueError, match="at least one query and one gallery image, got 0 and 0"):
        evaluate(CountingEvaluator, [])


# --- several processes


def evaluate_share(rank, store, poison, answers):
    """Evaluate a share of the batches in a child process; ``poison`` makes a feature NaN."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", world_size=2, rank=rank
    )
    comm._LOCAL_PROCESS_GROUP = torch.distributed.group.WORLD
    # Queries first: contiguous shares, as the sampler divides them.
    batches = random_batches()
    share = batches[:5] if rank == 0 else batches[5:]
    if poison and rank == 1:
        share[0][1][3] = torch.nan
    try:
        answers.put((rank, dict(evaluate(CountingEvaluator, share))))
    except Exception as error:
        answers.put((rank, f"{type(error).__name__}: {error}"))


def evaluate_in_two_processes(tmp_path, poison):
    # Forked, so that fastreid need not be imported again.
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    arguments = (str(tmp_path / "store"), poison, answers)
    children = [
        context.Process(target=evaluate_share, args=(rank, *arguments), daemon=True)
        for rank in (0, 1)
    ]
    for child in children:
        child.start()
    found = dict(answers.get(timeout=60) for _ in children)
    for child in children:
        child.join(timeout=60)
    return found


def test_evaluator_in_two_processes_equals_one(tmp_path, batches):
    found = evaluate_in_two_processes(tmp_path, poison=False)
    assert found[0] == pytest.approx(dict(evaluate(CountingEvaluator, batches)))
    assert found[1] == {}


def test_evaluator_error_on_the_main_process_stops_the_others(tmp_path):
    """Otherwise they would wait for the main process for ever."""
    found = evaluate_in_two_processes(tmp_path, poison=True)
    assert found[0].startswith("ValueError: expected finite gallery_features, got NaN")
    assert found[1].startswith("RuntimeError: the evaluation failed on the main process: ValueErr")
    assert "expected finite gallery_features" in found[1]
