"""Parameter groups: fastreid's without ours, and ours by name."""

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer as host_optimizer
from fastreid.utils.params import ContiguousParams

from fastreid_ext.engine.optimizer import build_optimizer


@pytest.fixture
def make_model(make_cfg):
    def make(**changes: object):
        cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8, **changes)
        return cfg, build_model(cfg)

    return make


@pytest.mark.parametrize("opt", ["Adam", "SGD"])
def test_without_groups_it_is_fastreids(make_model, opt):
    cfg, model = make_model(SOLVER__OPT=opt, SOLVER__HEADS_LR_FACTOR=0.5)
    (theirs, _) = host_optimizer(cfg, model)
    (ours, _) = build_optimizer(cfg, model)
    assert type(ours) is type(theirs)
    assert ours.defaults == theirs.defaults
    for one, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert torch.equal(one.pop("params")[0], other.pop("params")[0])
        assert one == other


def rates(model, optimizer) -> dict[str, tuple[float, float]]:
    """Return rate and decay of each parameter by name, found by where its values lie."""
    found = {}
    for name, parameter in model.named_parameters():
        for group in optimizer.param_groups:
            for held in group["params"]:
                first = held.data_ptr()
                if first <= parameter.data_ptr() < first + 4 * held.numel():
                    found[name] = (group["lr"], group["weight_decay"])
    return found


def test_rate_and_decay_by_name_stay_in_flat_buffers(make_model):
    groups = [
        {"name": "backbone.conv1", "lr_factor": 0.1},
        {"name": r".*\.bn", "weight_decay": 0.0},
        {"name": "backbone", "lr_factor": 0.5},
    ]
    cfg, model = make_model(SOLVER__PARAM_GROUPS=groups, SOLVER__BASE_LR=0.01)
    optimizer, wrapper = build_optimizer(cfg, model)
    assert isinstance(wrapper, ContiguousParams)
    assert len(optimizer.param_groups) < 8
    found = rates(model, optimizer)
    assert found["backbone.conv1.conv.weight"] == (pytest.approx(0.0005), 0.0005)
    assert found["backbone.conv1.bn.weight"] == (pytest.approx(0.0005), 0.0)
    assert found["backbone.conv2.0.conv1.conv.weight"][0] == pytest.approx(0.005)
    assert found["heads.weight"] == (0.01, 0.0005)


def test_options_by_name_make_one_group_for_each_set(make_model):
    groups = [{"name": "heads", "betas": [0.5, 0.9]}]
    cfg, model = make_model(SOLVER__PARAM_GROUPS=groups)
    optimizer, _ = build_optimizer(cfg, model)
    by_betas = {group["betas"] for group in optimizer.param_groups}
    assert by_betas == {(0.5, 0.9), (0.9, 0.999)}
    heads = [g for g in optimizer.param_groups if g["betas"] == (0.5, 0.9)]
    held = {id(parameter) for group in heads for parameter in group["params"]}
    assert held == {id(p) for p in model.heads.parameters() if p.requires_grad}
    assert len(optimizer.param_groups) < 8


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"lr_factor": 2.0}, r"entries like .*'name'.*got \{'lr_factor': 2\.0\}"),
        ({"name": "head"}, r"names 'head'.*e\.g\. one of backbone, heads"),
        ({"name": "heads", "beta": [0.5, 0.9]}, r"'beta' in SOLVER\.PARAM_GROUPS 'heads' under "
         r"SOLVER\.OPT Adam; did you mean 'betas'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(make_model, group, words):
    cfg, model = make_model(SOLVER__PARAM_GROUPS=[group])
    with pytest.raises(ValueError, match=words):
        build_optimizer(cfg, model)
