"""A matrix of tiny runs: trained once, tested everywhere, resumed, and honest about failures."""

import dataclasses
import json
import logging
import weakref

import pytest

from fastreid_ext.engine import matrix
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import matrix_runs, own_runs
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.engine.trainer import Trainer

from .tiny import overrides

DOMAINS = ("RenderedCampus", "RenderedMall")


@pytest.fixture
def recipes(tmp_path):
    """Two recipes: nothing but names, the tiny run comes by overrides."""
    files = [tmp_path / "one.yml", tmp_path / "two.yml"]
    files[0].write_text("MODEL: {LOSSES: {CE: {EPSILON: 0.1}}}\n")
    files[1].write_text("MODEL: {LOSSES: {CE: {EPSILON: 0.0}}}\n")
    return files


@pytest.fixture
def domains(market_root, tmp_path):
    """The tiny Market tree under the names of two domains."""
    root = tmp_path / "datasets"
    root.mkdir()
    for name in DOMAINS:
        (root / name).symlink_to(market_root / "Market-1501-v15.09.15")
    return root


@pytest.fixture
def make_runs(domains, tmp_path, recipes):
    pairs = overrides(domains, tmp_path / "ignored", SOLVER__MAX_EPOCH=1, DATALOADER__NUM_WORKERS=0)

    def make(files=recipes[:1], targets=DOMAINS[:1], seeds=(0,), more=()):
        combinations = [(DOMAINS[:1], targets, more)]
        return matrix_runs(files, combinations, seeds=seeds, overrides=pairs)

    return make


def test_seeds_vary_slowest(recipes):
    runs = matrix_runs(
        recipes,
        [(["A"], ["B"], ()), (["B"], ["A"], ("K", "V"))],
        settings=["all", "few_shot_10"],
        seeds=[0, 1],
    )
    assert len(runs) == 16
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8
    assert [run.model for run in runs[:3]] == ["one", "two", "one"]
    assert runs[-1].overrides == ("K", "V")


def test_own_runs_have_the_sets_and_keys_of_their_recipes(tmp_path):
    recipes = []
    for source, target in (("Market1501", "DukeMTMC"), ("DukeMTMC", "Market1501")):
        recipe = tmp_path / source / "DCAC.yml"
        recipe.parent.mkdir()
        recipe.write_text(f"DATASETS:\n  NAMES: ('{source}',)\n  TESTS: ('{target}',)\n")
        recipes.append(recipe)
    runs = own_runs(recipes, seeds=[0, 1], overrides=["MODEL.DEVICE", "cpu"])
    assert [(run.model, run.source, run.targets, run.seed) for run in runs] == [
        ("DCAC", "Market1501", ("DukeMTMC",), 0),
        ("DCAC", "DukeMTMC", ("Market1501",), 0),
        ("DCAC", "Market1501", ("DukeMTMC",), 1),
        ("DCAC", "DukeMTMC", ("Market1501",), 1),
    ]
    assert len({run.folder(tmp_path) for run in runs}) == 4


def test_nothing_to_train_or_test_is_said(recipes):
    with pytest.raises(ValueError, match="expected training and test sets"):
        matrix_runs(recipes, [(["A"], [], ())])


def test_a_new_target_costs_no_training_and_a_second_call_nothing(make_runs, tmp_path, monkeypatch):
    trained = []
    real_train = matrix.train
    monkeypatch.setattr(
        matrix, "train", lambda cfg, resume: trained.append(cfg.SEED) or real_train(cfg, resume)
    )
    output = tmp_path / "out"
    report = run_matrix(make_runs(), output)
    assert trained == [0]
    assert [(c.model, c.target) for c in report.cells] == [("one", "RenderedCampus")]
    assert 0 < report.cells[0].metrics["mAP"] <= 100

    both = run_matrix(make_runs(targets=DOMAINS), output)
    assert trained == [0]
    assert [c.target for c in both.cells] == list(DOMAINS)
    # The two domains are the same images, so the same model scores the same.
    assert both.cells[0].metrics == both.cells[1].metrics == report.cells[0].metrics

    monkeypatch.setattr(matrix, "evaluate", lambda cfg: pytest.fail("evaluated again"))
    assert run_matrix(make_runs(targets=DOMAINS), output).cells == both.cells


def test_an_interrupted_run_continues_from_its_checkpoint(make_runs, tmp_path, monkeypatch):
    output = tmp_path / "out"
    resumed = []
    real_train = matrix.train

    def killed_after_training(cfg, resume):
        resumed.append(resume)
        results = real_train(cfg, resume)
        if len(resumed) == 1:
            raise KeyboardInterrupt
        return results

    monkeypatch.setattr(matrix, "train", killed_after_training)
    (run,) = make_runs()
    with pytest.raises(KeyboardInterrupt):
        run_matrix([run], output)
    (run.folder(output) / "result.json").unlink()  # as if killed before it was written
    assert len(run_matrix([run], output).cells) == 1
    assert resumed == [False, True]


def test_other_configuration_in_the_folder_is_refused(make_runs, tmp_path):
    cells = run_matrix(make_runs(), tmp_path / "out").cells
    with pytest.raises(ValueError, match=r"another configuration.*SOLVER\.BASE_LR"):
        run_matrix(make_runs(more=("SOLVER.BASE_LR", "0.5")), tmp_path / "out")
    generated_otherwise = make_runs(more=("GENERATION.SAMPLING.STEPS", "7"))
    assert run_matrix(generated_otherwise, tmp_path / "out").cells == cells


def test_a_run_older_than_a_key_is_of_the_same_configuration(make_runs, tmp_path):
    (run,) = make_runs()
    cells = run_matrix([run], tmp_path / "out").cells
    path = run.folder(tmp_path / "out") / "result.json"
    result = json.loads(path.read_text())
    del result["config"]["DATASETS"]["SUBSET"]  # as if it was added to the defaults afterwards
    path.write_text(json.dumps(result))
    assert run_matrix([run], tmp_path / "out").cells == cells


@pytest.mark.slow
def test_one_failure_does_not_stop_the_others_if_asked(make_runs, recipes, tmp_path, monkeypatch):
    real_train = matrix.train

    def train(cfg, resume):
        if cfg.MODEL.LOSSES.CE.EPSILON == 0.1:
            raise RuntimeError("out of memory")
        return real_train(cfg, resume)

    monkeypatch.setattr(matrix, "train", train)
    output = tmp_path / "out"
    with pytest.raises(RuntimeError, match="out of memory"):
        run_matrix(make_runs(files=recipes), output)
    report = run_matrix(make_runs(files=recipes), output, continue_on_error=True)
    assert [c.model for c in report.cells] == ["two"]
    ((folder, error),) = report.failed
    assert error == "RuntimeError: out of memory"
    assert "out of memory" in (folder / "error.txt").read_text()
    assert report.unfinished == 0

    monkeypatch.setattr(matrix, "train", real_train)  # the same command tries again
    assert len(run_matrix(make_runs(files=recipes), output).cells) == 2
    assert not (folder / "error.txt").exists()


def test_a_failed_run_leaves_no_log_that_writes_to_a_closed_file(make_runs, tmp_path, monkeypatch):
    def train(cfg, resume):
        prepare_run(cfg)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(matrix, "train", train)
    run_matrix(make_runs(), tmp_path, continue_on_error=True)
    assert not logging.getLogger("fastreid_ext").handlers


def test_all_is_the_whole_set_whatever_the_recipe_says(make_runs, tmp_path):
    (run,) = make_runs(more=("DATASETS.SUBSET", "few_shot_50"))
    assert run.configuration(tmp_path).DATASETS.SUBSET == ""
    part = dataclasses.replace(run, setting="small_scale_50")
    assert part.configuration(tmp_path).DATASETS.SUBSET == "small_scale_50"


def test_mistakes_of_any_run_show_before_any_work(make_runs, recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "train", lambda cfg, resume: pytest.fail("trained"))
    recipes[1].write_text("MODEL: {HEADS: {NAME: EmbedingHead}}\n")
    with pytest.raises(ValueError, match="did you mean 'EmbeddingHead'"):
        run_matrix(make_runs(files=recipes), tmp_path)
    with pytest.raises(ValueError, match="expected runs of different folders"):
        run_matrix([*make_runs(), *make_runs()], tmp_path)


def test_shards_share_the_work(make_runs, tmp_path):
    runs = make_runs(seeds=(0, 1))
    output = tmp_path / "out"
    first = run_matrix(runs, output, shard=(0, 2), keep_weights=False)
    assert ([c.seed for c in first.cells], first.unfinished) == ([0], 1)
    second = run_matrix(runs, output, shard=(1, 2), keep_weights=False)
    assert ([c.seed for c in second.cells], second.unfinished) == ([0, 1], 0)
    assert not list(output.rglob("*.pth"))
    result = json.loads((runs[1].folder(output) / "result.json").read_text())
    assert result["seed"] == 1


def test_a_finished_run_leaves_no_model_in_memory(make_runs, tmp_path, monkeypatch):
    """A trainer and its hooks know each other; a hundred of them would fill the memory."""
    built = []
    real_build = Trainer.build_model

    def build_model(cfg):
        model = real_build(cfg)
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(Trainer, "build_model", staticmethod(build_model))
    run_matrix(make_runs(), tmp_path / "out")
    assert [reference() for reference in built] == [None]
