"""A method with a step, an optimizer, hooks and a state of its own, in the one trainer."""

import copy
from typing import Any

import pytest
import torch
from fastreid.engine.hooks import HookBase
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, build_model
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import LossCopy, TrainingStep

from .tiny import assert_equal_checkpoints, batches, run, started

GATES = ("heads.bottleneck",)  # scale and shift of the head's batch normalisation


def halves(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: value[part] for key, value in batch.items()} for part in (slice(0, 4), slice(4, 8))
    ]


class TwoPasses(TrainingStep):
    """Trains the gates on the second half of the batch, and all else on the first half."""

    def __init__(self, model: nn.Module, *parts: Any, **options: Any) -> None:
        super().__init__(model, *parts, **options)
        gates = [p for p in model.heads.bottleneck.parameters() if p.requires_grad]
        self.gates = torch.optim.SGD(gates, lr=0.05, momentum=0.9)

    def checkpointables(self) -> dict[str, Any]:
        return {**super().checkpointables(), "gate_optimizer": self.gates}

    def train_on(self, batch: dict[str, Any]) -> bool:
        first, second = halves(batch)
        losses = self.losses(first)
        on_host = LossCopy(losses)
        self.backward(sum(losses.values()))
        if not (self.is_finite_everywhere(on_host, batch) and self.update()):
            return False
        self.gates.zero_grad()
        losses = {f"{name}_gates": loss for name, loss in self.losses(second).items()}
        on_host = LossCopy(losses)
        self.backward(sum(losses.values()))
        return self.is_finite_everywhere(on_host, batch) and self.update(self.gates)


class TwoPassTrainer(Trainer):
    @classmethod
    def build_optimizer(cls, cfg: Any, model: nn.Module) -> Any:
        return build_optimizer(cfg, model, without=GATES)

    def build_step(self, *parts: Any, **options: Any) -> TrainingStep:
        return super().build_step(*parts, kind=TwoPasses, **options)


@pytest.fixture
def tiny_model(make_cfg):
    cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8, SOLVER__OPT="SGD", SOLVER__BASE_LR=0.05)
    torch.manual_seed(0)
    return cfg, build_model(cfg)


def test_two_passes_equal_a_loop_of_plain_torch(tiny_model):
    cfg, model = tiny_model
    twin = copy.deepcopy(model)
    optimizer, wrapper = build_optimizer(cfg, model, without=GATES)
    step = TwoPasses(model, batches(3), optimizer, wrapper, autocast_dtype=None, max_skipped=0)
    with EventStorage() as storage:
        go = started(step)
        assert [go() for _ in range(3)] == [True] * 3
        assert set(storage.histories()) >= {"loss_cls", "loss_cls_gates", "total_loss"}
        total = sum(
            storage.history(name).latest() for name in storage.histories() if "loss_" in name
        )
        assert storage.history("total_loss").latest() == pytest.approx(total)
        plain(cfg, twin, batches(3))
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def plain(cfg: Any, model: nn.Module, given: list[dict[str, Any]]) -> None:
    gates = [p for p in model.heads.bottleneck.parameters() if p.requires_grad]
    rest = [p for p in model.parameters() if p.requires_grad and all(p is not g for g in gates)]
    norms = {id(p) for m in model.modules() if "Norm" in type(m).__name__ for p in m.parameters()}
    solver = cfg.SOLVER
    groups = [
        {
            "params": [p],
            "weight_decay": solver.WEIGHT_DECAY_NORM if id(p) in norms else solver.WEIGHT_DECAY,
        }
        for p in rest
    ]
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    for group in groups:
        if id(group["params"][0]) in biases and id(group["params"][0]) not in norms:
            group["weight_decay"] = solver.WEIGHT_DECAY_BIAS
    main = torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM)
    other = torch.optim.SGD(gates, lr=0.05, momentum=0.9)
    model.train()
    for batch in given:
        for part, optimizer in zip(halves(batch), (main, other), strict=True):
            model.zero_grad()
            sum(model(part).values()).backward()
            optimizer.step()


class Counter(HookBase):
    """A hook with a state: which persons have been trained on."""

    checkpoint_name = "persons_seen"

    def __init__(self, classes: int) -> None:
        self.seen = torch.zeros(classes, dtype=torch.long)

    def see(self, targets: Tensor) -> None:
        self.seen += torch.bincount(targets, minlength=len(self.seen))

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = state["seen"]


@META_ARCH_REGISTRY.register()
class CountingBaseline(Baseline):
    """Baseline that gives persons seen rarely a larger weight."""

    def training_hooks(self, cfg: Any) -> list[HookBase]:
        self.counter = Counter(cfg.MODEL.HEADS.NUM_CLASSES)
        return [self.counter]

    def forward(self, batch: dict[str, Any]) -> Any:
        losses = super().forward(batch)
        if self.training:
            self.counter.see(batch["targets"])
            rarity = 1 / self.counter.seen[batch["targets"]].float()
            losses["loss_cls"] = losses["loss_cls"] * (1 + rarity.mean())
        return losses


# Everything at once: an epoch of 4 iterations ends in the middle of the images.
OPENED = {
    "MODEL__META_ARCHITECTURE": "CountingBaseline",
    "SOLVER__ITERS_PER_EPOCH": 4,
    "SOLVER__EMA__DECAY": 0.9,
    "SOLVER__PARAM_GROUPS": [{"name": "heads", "lr_factor": 2.0, "betas": [0.5, 0.9]}],
    "SOLVER__MAX_EPOCH": 3,
    "SOLVER__STEPS": [1],
}


@pytest.mark.slow
def test_run_with_all_of_it_resumes_to_the_same_checkpoint(make_cfg):
    whole = make_cfg("whole", **OPENED)
    stopped = make_cfg("stopped", **OPENED)
    trainer = run(TwoPassTrainer, whole)
    assert trainer.iter == 12
    run(TwoPassTrainer, stopped, stop_at=10)
    trainer = run(TwoPassTrainer, stopped, resume=True)
    assert trainer.start_iter == 8
    assert_equal_checkpoints(whole.OUTPUT_DIR, stopped.OUTPUT_DIR)
    checkpoint = read_checkpoint(f"{whole.OUTPUT_DIR}/model_final.pth")
    assert checkpoint["persons_seen"]["seen"].sum() == 2 * 12 * 4
    assert checkpoint["gate_optimizer"]["state"]
    assert checkpoint["lr_sched"]["last_epoch"] == 3  # schedules count epochs of 4 iterations
    averaged = read_checkpoint(f"{stopped.OUTPUT_DIR}/model_ema.pth")["model"]
    assert averaged.keys() == checkpoint["model"].keys()
    assert torch.equal(averaged["heads.weight"], checkpoint["ema"]["module.heads.weight"])
    assert not torch.equal(averaged["heads.weight"], checkpoint["model"]["heads.weight"])


def test_hook_with_a_state_and_no_name_is_refused(make_cfg):
    class Nameless(Counter):
        checkpoint_name = "optimizer"

    class Refused(Trainer):
        def build_method_hooks(self) -> list[HookBase]:
            return [Nameless(8)]

    with pytest.raises(ValueError, match=r"checkpoint_name of its own on the hook Nameless.*'opti"):
        Refused(make_cfg())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SOLVER__CLIP_GRADIENTS__ENABLED": True},
        {"MODEL__FREEZE_LAYERS": ["backbone"], "SOLVER__FREEZE_ITERS": 1},
    ],
    ids=["plain", "clipped", "frozen"],
)
def test_overflow_under_loss_scaling_is_no_applied_step(make_cfg, changes):
    cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8, **changes)
    model = build_model(cfg)
    parts = (model, batches(3), *build_optimizer(cfg, model))
    step = TrainingStep(*parts, autocast_dtype=None, max_skipped=0)
    step.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with EventStorage() as storage:
        go = started(step)
        assert go() is False
        assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
        assert storage.history("loss_cls").latest() > 0  # the losses are finite, so they are kept
        step.grad_scaler.update(1024.0)
        assert go() is True
    assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())
