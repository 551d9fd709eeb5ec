"""Prompts and prototypes that runs with a diffusion branch leave, and pictures of such runs."""

import cv2
import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from torch.nn import functional as F

import plot
from fastreid_ext.config import load_config
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.identity_prompts import identity_prompts
from fastreid_ext.engine.setup import keep_configuration

from .conftest import TRAIN_IDENTITIES
from .test_diffusion_run import BRANCH
from .tiny import overrides, run

BOT = {"MODEL.DIFFUSION.ENABLED": True, "INPUT.CLEAN_VIEW.SIZE": [32, 16]}
# Two steps are enough to write every file of a run.
SHORT = {
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.IMS_PER_BATCH": 16,
    "DATALOADER.NUM_INSTANCE": 2,
}


@pytest.fixture(scope="module")
def trained(market_root, tmp_path_factory, tiny_pipeline_folder):
    """Train a run by name of its kind, once for all tests of this file."""
    root = tmp_path_factory.mktemp("runs")
    base = {"MODEL.DIFFUSION.BASE_MODEL": str(tiny_pipeline_folder)}
    kinds = {
        "dcac": BRANCH | base | SHORT,
        "bot": BOT | base | SHORT,
        "plain": {"DATALOADER.NUM_WORKERS": 0} | SHORT,
    }
    trainers = {}

    def trainer_of(kind):
        if kind not in trainers:
            keys = {key.replace(".", "__"): value for key, value in kinds[kind].items()}
            cfg = load_config("", overrides(market_root, root / kind, **keys))
            trainers[kind] = run(Trainer, cfg)
            keep_configuration(trainers[kind].cfg)
        return root / kind, trainers[kind]

    return trainer_of


def test_prompts_and_prototypes_are_those_of_the_run(trained):
    folder, trainer = trained("dcac")
    prompts, prototypes = identity_prompts(folder)
    assert prompts.shape[0] == prototypes.shape[0] == TRAIN_IDENTITIES
    learned = trainer.model.diffusion_branch.condition.prompts.detach().numpy()
    np.testing.assert_array_equal(prompts, learned)
    np.testing.assert_array_equal(prototypes, trainer.model.memory.prototypes.numpy())


@pytest.mark.slow
def test_prototypes_of_a_model_without_memory_are_means_over_its_images(trained):
    folder, trainer = trained("bot")
    prompts, prototypes = identity_prompts(folder, ["MODEL.DEVICE", "cpu"])
    assert len(prompts) == TRAIN_IDENTITIES
    transform = build_transforms(trainer.cfg, is_train=False)
    model = trainer.model.eval()
    sums = {}
    for path, pid, _ in sorted(trainer.data_loader.dataset.img_items):
        with torch.no_grad():
            feature = F.normalize(model(transform(read_rgb(path))[None]))[0]
        sums[pid] = sums.get(pid, 0) + feature
    expected = torch.stack([sums[pid] / sums[pid].norm() for pid in sorted(sums)])
    np.testing.assert_allclose(prototypes, expected, rtol=1e-4, atol=1e-5)


def test_a_run_without_a_branch_is_refused(trained):
    folder, _ = trained("plain")
    with pytest.raises(ValueError, match="was trained without a diffusion branch; choose another"):
        identity_prompts(folder)


def test_prompts_of_other_things_than_identities_are_refused(trained, tmp_path):
    folder, _ = trained("dcac")
    checkpoint = read_checkpoint(folder / "model_final.pth")
    apart = read_checkpoint(folder / checkpoint["training_file"])
    apart["model"]["diffusion_branch.condition.prompts"] = torch.rand(3, 32)
    torch.save(checkpoint, tmp_path / "model_final.pth")
    torch.save(apart, tmp_path / checkpoint["training_file"])
    with pytest.raises(ValueError, match=r"expected prompts of the 8 training identities .* got 3"):
        identity_prompts(tmp_path)
    checkpoint["config"]["MODEL"]["DIFFUSION"]["CONDITION"] = "instance"
    torch.save(checkpoint, tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match=r"got 3 of MODEL\.DIFFUSION\.CONDITION instance"):
        identity_prompts(tmp_path)


@pytest.mark.slow
def test_commands_plot_runs_with_a_branch(trained, tmp_path, capsys):
    """Prompts, curves, and activation maps beside those of the model without a branch."""
    folder, _ = trained("dcac")
    plain, _ = trained("plain")
    words = ["prompts", str(folder), "--permutations", "19", "--output", str(tmp_path / "a.png")]
    plot.main(plot.parse(words))
    assert f"{folder}: {TRAIN_IDENTITIES} identities, Spearman" in capsys.readouterr().out
    plot.main(plot.parse(["training", str(folder), "--output", str(tmp_path / "b.png")]))
    words = ["activation-maps", "--identities", "1", "--cameras", "2"]
    words += ["--config-file", str(plain / "config.yaml")]
    words += ["--weights", str(plain / "model_final.pth")]
    words += ["--second-config-file", str(folder / "config.yaml")]
    words += ["--second-weights", str(folder / "model_final.pth")]
    plot.main(plot.parse([*words, "--output", str(tmp_path / "c.png")]))
    assert all(cv2.imread(str(tmp_path / name)).std() > 10 for name in ("a.png", "b.png", "c.png"))


def test_a_second_model_needs_its_checkpoint(trained, capsys):
    config = str(trained("plain")[0] / "config.yaml")
    with pytest.raises(SystemExit):
        plot.parse(["activation-maps", "--config-file", config, "--names", "one", "two"])
    assert "expected --second-weights" in capsys.readouterr().err
