"""Pre-training by classification of a generated set: rates, decay, a whole run."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from PIL import Image
from timm.optim import param_groups_weight_decay

from fastreid_ext.config import load_config
from fastreid_ext.engine import train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.manifest import GeneratedImage, GeneratedSet, sha256_of, write_identity, write_set

from ..tiny_cfg import tiny_cfg

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "projects/DiffusionReID/configs/Base-classification-pretrain.yml"
TINY = {
    "SEED": 7,
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATASETS.NAMES": ("GeneratedPersons",),
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 5,
    "SOLVER.WARMUP_EPOCHS": 2,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.LOG_PERIOD": 1,
    "TEST.NUM_WORKERS": 0,
    "TEST.IMS_PER_BATCH": 8,
}


def generated_set(root, persons=(3, 5, 8, 9), images=5, source="Market1501"):
    """Each person a colour of some noise."""
    rng = np.random.default_rng(0)
    for person in persons:
        folder = root / f"{source}_{person:04d}"
        rows = []
        folder.mkdir(parents=True)
        colour = rng.integers(30, 220, 3)
        for index in range(images):
            pixels = (colour + rng.normal(0, 12, (64, 32, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
            rows.append(
                GeneratedImage(
                    file_name=f"{index}.png",
                    source_dataset=source,
                    person_id=person,
                    seed=index,
                    model_ids=("tiny@1",),
                    sha256=sha256_of(folder / f"{index}.png"),
                )
            )
        write_identity(folder, rows)
    write_set(root, GeneratedSet(generator="tests 1.0"))
    return root


def configured(root, output, roots, **changes):
    keys = TINY | {"DATASETS.ROOT": root, "OUTPUT_DIR": output, "DATASETS.GENERATED.ROOTS": roots}
    return tiny_cfg(keys, file=RECIPE, **changes)


@pytest.fixture(scope="module")
def finished(market_root, tmp_path_factory):
    """Return configuration and results of a run on two generated sets of 20 images."""
    folder = tmp_path_factory.mktemp("classification")
    roots = [str(generated_set(folder / name)) for name in ("a", "b")]
    cfg = configured(market_root, folder / "run", roots)
    return cfg, train(cfg)


def lines_of(cfg):
    return [json.loads(line) for line in (Path(cfg.OUTPUT_DIR) / "metrics.json").open()]


def test_each_person_of_each_set_is_a_class(finished):
    cfg, results = finished
    heads = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]["heads.weight"]
    assert heads.shape[0] == 8
    assert {"total_loss", "cls_accuracy", "lr"} <= set(lines_of(cfg)[0])
    assert results["Market1501"]["Rank-1"] > 0  # retrieval is measured on a real set


def test_rates_are_those_of_the_rule(finished):
    """5 epochs of 5 steps: 10 steps up from 0, an epoch at the top, then a cosine step an epoch."""
    cfg, _ = finished
    top = cfg.SOLVER.BASE_LR
    least = cfg.SOLVER.ETA_MIN_LR
    expected = [top * step / 10 for step in range(10)]
    for epoch in (0, 1, 2):
        rate = least + (top - least) * (1 + math.cos(math.pi * epoch / 3)) / 2
        expected += [rate] * 5
    assert [line["lr"] for line in lines_of(cfg)] == pytest.approx(expected, rel=1e-6)


def test_stopped_and_resumed_run_ends_with_the_same_weights(finished, market_root, tmp_path):
    cfg, _ = finished
    roots = list(cfg.DATASETS.GENERATED.ROOTS)
    again = configured(market_root, tmp_path / "again", roots)
    source = Path(cfg.OUTPUT_DIR)
    target = Path(again.OUTPUT_DIR)
    target.mkdir()
    (target / "model_0002.pth").write_bytes((source / "model_0002.pth").read_bytes())
    (target / "last_checkpoint").write_text("model_0002.pth")
    train(again, resume=True)
    ours = read_checkpoint(target / "model_final.pth")
    theirs = read_checkpoint(source / "model_final.pth")
    assert all(torch.equal(ours["model"][name], value) for name, value in theirs["model"].items())


@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_decay_is_timms_rule(name):
    """No decay of biases, of everything in one dimension and of Swin's tables of positions."""
    depth = {"resnet": "18x", "swin": "tiny"}[name]
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "4", "MODEL.BACKBONE.DEPTH", depth]
    pairs += ["MODEL.BACKBONE.NAME", f"build_{name}_backbone"]
    cfg = load_config(RECIPE, pairs)
    model = build_model(cfg)
    tables = [name for name, _ in model.named_parameters() if "bias_table" in name]
    assert bool(tables) == (name == "swin")
    theirs = {
        id(value): group["weight_decay"]
        for group in param_groups_weight_decay(model, 0.05, no_weight_decay_list=tables)
        for value in group["params"]
    }
    optimizer, wrapper = build_optimizer(cfg, model)
    assert type(optimizer) is torch.optim.AdamW
    ours = {id(g["params"][0]): g["weight_decay"] for g in wrapper.original()}
    assert ours == theirs
    assert {group["lr"] for group in optimizer.param_groups} == {0.004}
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.05]
    assert {(g["betas"], g["eps"]) for g in optimizer.param_groups} == {((0.9, 0.999), 1e-8)}


def test_three_steps_are_those_of_torchs_adamw():
    """fastreid flattens the parameters; the update must not know."""
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "4"]
    pairs += ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"]
    cfg = load_config(RECIPE, pairs)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_model(cfg))
    flat, _ = build_optimizer(cfg, models[0])
    groups = param_groups_weight_decay(models[1], weight_decay=0.05)
    plain = torch.optim.AdamW(groups, lr=0.004)
    for _ in range(3):
        for model, optimizer in zip(models, (flat, plain), strict=True):
            optimizer.zero_grad()
            torch.manual_seed(1)
            sum(torch.randn_like(p).mul(p).sum() for p in model.parameters()).backward()
            optimizer.step()
    for ours, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_configuration_beside_the_checkpoint_says_both_warm_ups(finished):
    cfg, _ = finished
    written = load_config(Path(cfg.OUTPUT_DIR) / "config.yaml")
    assert (written.SOLVER.WARMUP_EPOCHS, written.SOLVER.WARMUP_ITERS) == (2, 10)
