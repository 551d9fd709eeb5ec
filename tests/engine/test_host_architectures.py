"""fastreid's own Distiller and MoCo train; a teacher is a run of ours."""

from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.meta_arch import build_model

from fastreid_ext.engine import Trainer, train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.engine.step import TrainingStep

ONE = {"SOLVER__MAX_EPOCH": 1, "DATALOADER__NUM_WORKERS": 0, "SOLVER__WARMUP_ITERS": 0}


def losses_of(cfg) -> dict[str, list[float]]:
    trainer = Trainer(prepare_run(cfg))
    trainer.resume_or_load(False)
    trainer.train()
    names = [name for name in trainer.storage.histories() if name.startswith("loss_")]
    return {name: [v for v, _ in trainer.storage.history(name).values()] for name in names}


def test_fastreid_reads_the_configuration_of_a_run(make_cfg, tmp_path):
    (tmp_path / "config.yaml").write_text(make_cfg(SEED=5).dump())
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "config.yaml"))
    assert cfg.SEED == 5


def test_distiller_learns_from_a_run_of_ours(make_cfg):
    teacher = make_cfg("teacher", **ONE)
    train(teacher)
    folder = Path(teacher.OUTPUT_DIR)
    student = make_cfg(
        "student",
        **ONE | {"SOLVER__MAX_EPOCH": 4, "SOLVER__BASE_LR": 3e-3},
        MODEL__META_ARCHITECTURE="Distiller",
        KD__MODEL_CONFIG=[str(folder / "config.yaml")],
        KD__MODEL_WEIGHTS=[str(folder / "model_final.pth")],
    )
    trainer = Trainer(prepare_run(student))
    (kept,) = trainer.model.model_ts
    weights = read_checkpoint(folder / "model_final.pth")["model"]
    assert torch.equal(kept.heads.weight, weights["heads.weight"])
    losses = losses_of(student)
    assert losses["loss_jsdiv"][0] > 0
    assert sum(losses["loss_cls"][-6:]) < 0.9 * sum(losses["loss_cls"][:6])
    saved = read_checkpoint(Path(student.OUTPUT_DIR) / "model_final.pth")["model"]
    assert saved.keys() == weights.keys()  # the teacher is not in it


def test_teachers_ask_for_no_file_of_their_start(make_cfg, tmp_path):
    """The ImageNet file of the teacher's run may be gone: its checkpoint holds the backbone."""
    teacher = make_cfg("teacher", MODEL__HEADS__NUM_CLASSES=8)
    weights = build_model(teacher).state_dict()
    torch.save({"model": weights}, tmp_path / "teacher.pth")
    recorded = teacher.clone()
    recorded.defrost()
    recorded.MODEL.BACKBONE.PRETRAIN = True
    recorded.MODEL.BACKBONE.PRETRAIN_PATH = "/gone.pth"
    (tmp_path / "config.yaml").write_text(recorded.dump())
    student = make_cfg(
        "student",
        MODEL__HEADS__NUM_CLASSES=8,
        MODEL__META_ARCHITECTURE="Distiller",
        KD__MODEL_CONFIG=[str(tmp_path / "config.yaml")] * 2,
        KD__MODEL_WEIGHTS=[str(tmp_path / "teacher.pth")] * 2,
    )
    for kept in build_model(student).model_ts:
        assert all(torch.equal(kept.state_dict()[name], weights[name]) for name in weights)


def test_mocos_memory_fills_and_its_loss_falls(make_cfg):
    keys = {"MODEL__META_ARCHITECTURE": "MoCo", "MODEL__QUEUE_SIZE": 64}
    cfg = make_cfg("moco", **ONE | {"SOLVER__MAX_EPOCH": 6, "SOLVER__BASE_LR": 3e-3}, **keys)
    losses = losses_of(cfg)
    assert all(torch.tensor(losses["loss_mb"]).isfinite())
    assert sum(losses["loss_cls"][-6:]) < 0.9 * sum(losses["loss_cls"][:6])
    weights = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]
    assert weights["memory.queue_ptr"].item() == 36 * 8 % 64
    assert weights["memory.queue_label"].unique().numel() > 1


class Scaled(TrainingStep):
    """Loss scaling as on CUDA; the scale doubles after four steps."""

    def __init__(self, *parts, **keys) -> None:
        super().__init__(*parts, **keys)
        self.grad_scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=4)


class ScaledTrainer(Trainer):
    def build_step(self, *parts, **keys):
        return super().build_step(*parts, **keys, kind=Scaled)


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_loss_scale_is_in_the_checkpoint(make_cfg, epochs):
    precision = {"SOLVER__AMP__ENABLED": True, "SOLVER__AMP__DTYPE": "float16"}
    cfg = make_cfg(**ONE | precision | {"SOLVER__MAX_EPOCH": epochs})
    trainer = ScaledTrainer(prepare_run(cfg))
    trainer.resume_or_load(False)
    trainer.train()
    expected = trainer.grad_scaler.state_dict()
    assert expected["scale"] == 256.0 * 2 ** (6 * epochs // 4)
    again = ScaledTrainer(prepare_run(cfg, resume=True))
    assert again.grad_scaler.get_scale() == 256.0
    again.resume_or_load(True)
    assert again.grad_scaler.state_dict() == expected
