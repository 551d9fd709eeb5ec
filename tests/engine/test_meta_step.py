"""MetaBIN's step: who moves, by how much, and that a killed run is the uninterrupted one."""

import copy

import numpy as np
import pytest
import torch
from fastreid.modeling.losses import triplet_loss
from fastreid.utils.events import EventStorage

from fastreid_ext.engine import Trainer
from fastreid_ext.engine.meta_step import MetaSettings, MetaStep, held_out, inner_factor, move
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.modeling.batch_instance_norm import GATES, norms_of
from fastreid_ext.modeling.losses.domain_spread import scatter_loss, shuffle_loss
from fastreid_ext.modeling.training_model import build_training_model

from .tiny import assert_equal_checkpoints, run

META = {
    "MODEL__BIN__ENABLED": True,
    "MODEL__HEADS__NUM_CLASSES": 8,
    "SOLVER__OPT": "SGD",
    "SOLVER__BASE_LR": 0.05,
    "SOLVER__IMS_PER_BATCH": 24,
    "SOLVER__META__TEST_DOMAINS": 1,
}
SETTINGS = MetaSettings(
    rate=20.0,
    cycle=4,
    test_domains=1,
    margin=0.3,
    smoothing=0.1,
    losses=("triplet", "scatter", "shuffle"),
    domain_field="domains",
)


class Batches(list):
    """Batches with the seed of a loader."""

    seed = 11


def meta_batches(count):
    generator = torch.Generator().manual_seed(3)
    persons = torch.arange(6).repeat_interleave(2)
    return Batches(
        {
            "images": torch.rand((24, 3, 64, 32), generator=generator) * 255,
            "targets": torch.cat([persons, persons]),
            "domains": torch.cat([persons, persons]) // 2,
            "img_paths": [f"{index}.jpg" for index in range(24)],
        }
        for _ in range(count)
    )


@pytest.fixture
def model_of(make_cfg):
    def build(gate=1.0):
        cfg = make_cfg(MODEL__BIN__GATE=gate, **META)
        torch.manual_seed(0)
        return cfg, build_training_model(cfg)

    return build


def step_of(cfg, model, batches, kind=MetaStep, **options):
    optimizer, wrapper = build_optimizer(cfg, model, without=(GATES,))
    options |= {"settings": SETTINGS} if kind is MetaStep else {}
    step = kind(model, batches, optimizer, wrapper, autocast_dtype=None, max_skipped=0, **options)
    step.start()
    return step


def test_the_meta_pass_moves_gates_and_nothing_else(model_of):
    cfg, model = model_of(0.9)
    plain = copy.deepcopy(model)
    whole = meta_batches(2)
    bases = Batches({name: values[:12] for name, values in batch.items()} for batch in whole)
    with EventStorage() as storage:
        step = step_of(cfg, model, whole)
        assert step.run(0)
        assert {"loss_cls", "loss_meta_shuffle", "loss_meta_triplet_test"} <= set(
            storage.histories()
        )
        assert step_of(cfg, plain, bases, kind=TrainingStep).run(0)
    after = model.state_dict()
    for name, value in plain.state_dict().items():
        moved = not torch.equal(value, after[name])
        assert moved == name.endswith(".gate"), name
    gates = torch.cat([norm.gate.detach() for norm in norms_of(model).values()])
    assert gates.min() >= 0
    assert gates.max() <= 1


def test_gates_move_by_the_gradient_of_autograd(model_of):
    """The meta-test loss is differentiated through gates whose inner move is cut, in float64."""
    cfg, model = model_of(0.6)
    model.double()
    batch = meta_batches(1)[0]
    batch["images"] = batch["images"].double()
    gates = {f"{name}.gate": norm.gate for name, norm in norms_of(model).items()}
    twin = copy.deepcopy(model)
    wanted = by_autograd(twin, {name: values[12:] for name, values in batch.items()})
    with EventStorage():
        step = step_of(cfg, model, Batches([batch]))
        step.iteration = 2
        step._train_gates({name: values[12:] for name, values in batch.items()})
    for name, gate in gates.items():
        torch.testing.assert_close(gate.detach(), wanted[name], rtol=1e-9, atol=1e-12)
    assert any((wanted[name] - 0.6).abs().max() > 1e-6 for name in gates)


def by_autograd(model, batch):
    gates = {name: p for name, p in model.named_parameters() if name.endswith(".gate")}
    rng = np.random.default_rng([11, 2])
    is_test = np.isin(batch["domains"], held_out(batch["domains"].numpy(), 1, rng))

    def features(part, values):
        def pooled(images):
            return model.heads.pool_layer(model.backbone(images)).flatten(1)

        class Wrapped(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model

            def forward(self, images):
                return pooled(images)

        images = model.preprocess_image({"images": batch["images"][part]})
        renamed = {f"inner.{name}": value for name, value in values.items()}
        return torch.func.functional_call(Wrapped(), renamed, (images,))

    def triplet(found, part):
        return triplet_loss(found, batch["targets"][part], 0.3, False, True)

    train = torch.from_numpy(~is_test)
    found = features(train, gates)
    inner = triplet(found, train) + scatter_loss(found, batch["domains"][train])
    inner = inner + shuffle_loss(found, batch["targets"][train], batch["domains"][train])
    gradients = torch.autograd.grad(inner, list(gates.values()))
    beta = SETTINGS.rate * (0.001 + 0.099 * 0.5)  # the third of a cycle of four
    moved = {}
    for (name, gate), gradient in zip(gates.items(), gradients, strict=True):
        target = (gate - beta * gradient).clamp(0, 1).detach()
        moved[name] = gate + (target - gate).detach()  # straight through
    test = torch.from_numpy(is_test)
    outer = torch.autograd.grad(triplet(features(test, moved), test), list(gates.values()))
    pairs = zip(gates.items(), outer, strict=True)
    return {name: (gate - SETTINGS.rate * g).clamp(0, 1).detach() for (name, gate), g in pairs}


def test_the_inner_rate_cycles_between_its_ends():
    factors = [inner_factor(step, 4) for step in range(5)]
    assert factors == pytest.approx([0.0505, 0.1, 0.0505, 0.001, 0.0505])
    assert [0.1 * factor for factor in factors[:4]] == pytest.approx(
        [0.00505, 0.01, 0.00505, 0.0001]
    )
    assert inner_factor(7, 0) == 0.01


def test_gates_stay_between_0_and_1():
    gates = [torch.full((3,), 0.95)]
    move(gates, [torch.tensor([-10.0, 0.0, 10.0])], 0.01)
    assert gates[0].tolist() == pytest.approx([1.0, 0.95, 0.85])
    generator = torch.Generator().manual_seed(0)
    for _ in range(1000):
        move(gates, [torch.randn(3, generator=generator)], 10.0)
        assert ((gates[0] >= 0) & (gates[0] <= 1)).all()


def test_domains_are_held_out_in_turn_and_never_trained_on():
    domains = np.repeat(np.arange(5), 16)
    found = [held_out(domains, 2, np.random.default_rng([0, step])) for step in range(200)]
    assert all(len(set(chosen)) == 2 for chosen in found)
    assert np.unique(np.concatenate(found), return_counts=True)[1].min() > 50
    is_test = np.isin(domains, found[0])
    assert (is_test.sum(), (~is_test).sum()) == (32, 48)


@pytest.fixture
def three_sets(market_root):
    folder = market_root / "Market-1501-v15.09.15"
    sets = [f"{name}={folder}" for name in ("Second", "Third")]
    return META | {
        "DATASETS__SETS": sets,
        "DATASETS__NAMES": ("Market1501", "Second", "Third"),
        "MODEL__HEADS__NUM_CLASSES": 0,
        "SOLVER__MAX_EPOCH": 2,
        "SOLVER__META__CYCLE_EPOCHS": 1,
        "SOLVER__ITERS_PER_EPOCH": 4,
    }


@pytest.mark.slow
def test_a_run_stopped_within_a_cycle_resumes_to_the_same_checkpoint(make_cfg, three_sets):
    whole = run(Trainer, make_cfg("whole", **three_sets))
    cfg = make_cfg("parts", **three_sets)
    run(Trainer, cfg, stop_at=6)
    run(Trainer, cfg, resume=True)
    assert_equal_checkpoints(whole.cfg.OUTPUT_DIR, cfg.OUTPUT_DIR)
    gates = [norm.gate for norm in norms_of(whole.model).values()]
    assert any(gate.min() < 1 for gate in gates)


@pytest.mark.parametrize("trained_by", ["loss", "nothing"])
def test_gates_without_meta_training_follow_the_loss_or_stay(make_cfg, trained_by):
    keys = {"SOLVER__ITERS_PER_EPOCH": 3, "SOLVER__MAX_EPOCH": 1, "SOLVER__BASE_LR": 0.1}
    of_gates = {"MODEL__BIN__ENABLED": True, "MODEL__BIN__TRAINED_BY": trained_by}
    cfg = make_cfg(**keys, **of_gates, MODEL__BIN__GATE=0.5, SOLVER__OPT="SGD")
    model = run(Trainer, cfg).model
    gates = torch.cat([norm.gate.detach() for norm in norms_of(model).values()])
    assert ((gates >= 0) & (gates <= 1)).all()
    assert (gates != 0.5).any() == (trained_by == "loss")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_meta_step_runs_where_batches_are_on_the_gpu(make_cfg):
    cfg = make_cfg(**META, MODEL__DEVICE="cuda")
    model = build_training_model(cfg)
    batch = meta_batches(1)[0]
    moved = {name: values.cuda() for name, values in batch.items() if name != "img_paths"}
    with EventStorage():
        assert step_of(cfg, model, Batches([batch | moved])).run(0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MODEL__HEADS__NECK_FEAT": "after"}, "NECK_FEAT before"),
        ({"SOLVER__IMS_PER_BATCH": 25, "DATALOADER__NUM_INSTANCE": 1}, "even SOLVER.IMS_PER_BATCH"),
        ({"INPUT__MIXUP__ENABLED": True}, "MIXUP and INPUT.CUTMIX off"),
        ({"MODEL__BN_GROUP": 8}, "BN_GROUP 0 with MODEL.BIN"),
        ({"SOLVER__META__LOSSES": ["scater"]}, "did you mean 'scatter'"),
        ({"MODEL__BACKBONE__NAME": "build_swin_backbone"}, "no batch normalisation"),
        ({"MODEL__BIN__TRAINED_BY": "nothing"}, "SOLVER.META.TEST_DOMAINS"),
    ],
)
def test_contradictions_are_refused(make_cfg, changes, words):
    with pytest.raises(ValueError, match=words):
        make_cfg(**{**META, **changes})


def test_one_domain_and_too_few_for_meta_training_are_refused(make_cfg, three_sets):
    with pytest.raises(ValueError, match=r"in the half .* SOLVER.META .* at least two domains"):
        Trainer(make_cfg(**{**three_sets, "DATASETS__NAMES": ("Market1501",)}))
    with pytest.raises(ValueError, match="TEST_DOMAINS 2 of 3 domains leaves 1"):
        Trainer(make_cfg(**{**three_sets, "SOLVER__META__TEST_DOMAINS": 2}))
    with pytest.raises(ValueError, match=r"1 person of each domain.*IMS_PER_BATCH to 24"):
        Trainer(make_cfg(**{**three_sets, "SOLVER__IMS_PER_BATCH": 12}))
