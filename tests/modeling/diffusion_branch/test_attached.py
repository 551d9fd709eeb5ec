"""Branches of several architectures: which logits they see, and whom their gradient reaches."""

import copy
from typing import Any

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from fastreid_ext.engine import Trainer
from fastreid_ext.modeling.backbones import swin
from fastreid_ext.modeling.diffusion_branch.attached import attach, joined_features, mean_logits

from ...tiny_cfg import dotted, read_keys, tiny_cfg

B = 4
SMALL = {
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NUM_CLASSES": 5,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.CLEAN_VIEW.SIZE": [32, 16],
    "MODEL.DIFFUSION.ENABLED": True,
    "MODEL.DIFFUSION.RANDOM_WEIGHTS": True,  # no files are checked and read
    "MODEL.DIFFUSION.UNET": "frozen",
}
R18 = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 512,
}
AGW = R18 | {
    "MODEL.BACKBONE.WITH_NL": True,
    "MODEL.BACKBONE.WITH_IBN": True,
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling",
}
BDB = {
    "MODEL.META_ARCHITECTURE": "BDB",
    "MODEL.HEADS.NAME": "BDBHead",
    "MODEL.HEADS.WITH_BNNECK": False,
    "MODEL.HEADS.BDB.GLOBAL_DIM": 8,
    "MODEL.HEADS.BDB.PART_DIM": 8,
}
MGN = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",
    "MODEL.BACKBONE.FEAT_DIM": 2048,
    "MODEL.META_ARCHITECTURE": "MGN",
    "MODEL.HEADS.EMBEDDING_DIM": 16,
    "INPUT.SIZE_TRAIN": [96, 48],
}
SWIN = {
    "MODEL.BACKBONE.NAME": "build_swin_backbone",
    "MODEL.BACKBONE.DEPTH": "tiny",
    "MODEL.BACKBONE.FEAT_DIM": 768,
}
PROTOTYPE = {
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL.HEADS.NECK_FEAT": "after",
}
# Keys, and the number of classifiers of the architecture.
ARCHITECTURES = {
    "Baseline": ({}, 1),
    "PrototypeBaseline": (PROTOTYPE, 1),
    "BDB": (BDB, 2),
    "R18": (R18, 1),
    "AGW": (AGW, 1),
    "MGN": (MGN, 8),
    "Swin": (SWIN, 1),
}
QUICK = ("Baseline", "PrototypeBaseline", "BDB")
NAMES = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES
]


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    monkeypatch.setitem(swin.SIZES, "tiny", swin.SwinSize(96, (1, 1, 1, 1), (3, 6, 12, 24)))


@pytest.fixture
def config(tiny_pipeline_folder):
    def make(keys: dict[str, Any] | None = None, **changes: Any) -> CfgNode:
        place = {"MODEL.DIFFUSION.BASE_MODEL": str(tiny_pipeline_folder)}
        return tiny_cfg(read_keys({**SMALL, **place, **(keys or {})}, dotted(changes)))

    return make


def build(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    return Trainer.build_model(cfg).train()


def batch(cfg: CfgNode) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    height, width = cfg.INPUT.SIZE_TRAIN
    return {
        "images": 255 * torch.rand(B, 3, height, width, generator=generator),
        "clean_images": torch.randint(0, 256, (B, 3, 32, 16), generator=generator).float(),
        "targets": torch.tensor([0, 0, 3, 3]),
    }


def losses_of(model: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    given = {name: value.clone() for name, value in given.items()}  # images are normalised in place
    torch.manual_seed(2)
    with EventStorage():
        return model(given)


def inputs_of_branch(model: nn.Module) -> dict[str, Tensor]:
    """Return a mapping that the next pass fills with the inputs of the branch."""
    seen: dict[str, Tensor] = {}
    names = ("logits", "features", "targets", "latents")
    model.diffusion_branch.register_forward_pre_hook(
        lambda branch, args: seen.update(zip(names, args, strict=True))
    )
    return seen


def outputs_of_heads(model: nn.Module) -> list[dict[str, Tensor]]:
    """Return a list that the next pass fills with the outputs of everything with logits."""
    found: list[dict[str, Tensor]] = []

    def remember(module: nn.Module, args: tuple, output: Any) -> None:
        if isinstance(output, dict) and "pred_class_logits" in output:
            found.append(output)

    for name, module in model.named_modules():
        if name and "diffusion_branch" not in name:
            module.register_forward_hook(remember)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_branch_sees_the_mean_of_all_classifiers_and_reaches_them(config, name):
    keys, classifiers = ARCHITECTURES[name]
    cfg = config(keys)
    model = build(cfg)
    seen = inputs_of_branch(model)
    heads = outputs_of_heads(model)
    loss = losses_of(model, batch(cfg))["loss_diffusion"]
    assert loss > 0
    assert seen["targets"].tolist() == [0, 0, 3, 3]
    assert len(heads) == classifiers
    total = sum(head["pred_class_logits"] for head in heads)
    torch.testing.assert_close(seen["logits"], total / classifiers)
    assert seen["features"].shape == (B, sum(head["features"].shape[1] for head in heads))

    loss.backward()
    weights = [
        parameter
        for key, parameter in model.named_parameters()
        if parameter.ndim == 2 and len(parameter) == 5 and "diffusion" not in key
    ]
    assert len(weights) == classifiers
    assert all(weight.grad.any() for weight in weights)
    assert next(p for p in model.backbone.parameters() if p.requires_grad).grad.any()


@pytest.mark.parametrize(
    ("condition", "is_short"),
    [("correlation", True), ("correlation", False), ("instance", True), ("class", True)],
)
def test_gradient_of_the_diffusion_loss_by_condition(config, condition, is_short):
    """Under "class" it must not reach the Re-ID model at all; DCAC's point."""
    cfg = config(
        MODEL__DIFFUSION__UNET="lora",
        MODEL__DIFFUSION__CONDITION=condition,
        MODEL__DIFFUSION__SINGLE_TOKEN_ATTENTION=is_short,
    )
    model = build(cfg)
    losses_of(model, batch(cfg))["loss_diffusion"].backward()
    assert model.diffusion_branch.condition.prompts.grad.any()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
        elif name.startswith("diffusion_branch."):
            assert parameter.grad is not None, name
            if "attn2.to_q" in name or "attn2.to_k" in name:
                assert parameter.grad.abs().max() < 1e-9, name
        elif name.startswith("backbone."):
            assert (parameter.grad is None) == (condition == "class"), name
    if condition != "class":
        gradients = [p.grad for p in model.backbone.parameters() if p.requires_grad]
        reached = sum(bool(gradient.any()) for gradient in gradients)
        assert reached > 0.9 * len(gradients)  # a dead ReLU here and there
    # The instance-wise condition takes the feature before the classifier.
    assert (model.heads.weight.grad is not None) == (condition == "correlation")


def test_diffusion_loss_is_added_to_the_others_with_its_weight(config):
    cfg = config()
    losses = losses_of(build(cfg), batch(cfg))
    alone = losses_of(build(config(MODEL__DIFFUSION__ENABLED=False)), batch(cfg))
    assert losses.keys() - alone.keys() == {"loss_diffusion"}
    assert torch.equal(losses["loss_cls"], alone["loss_cls"])
    scaled = losses_of(build(config(MODEL__DIFFUSION__SCALE=0.25)), batch(cfg))
    torch.testing.assert_close(scaled["loss_diffusion"], 0.25 * losses["loss_diffusion"])


def test_latents_of_the_batch_replace_its_clean_images(config):
    cfg = config()
    model = build(cfg)
    given = batch(cfg)
    expected = losses_of(model, given)["loss_diffusion"]
    given["latents"] = model.diffusion_branch.latents_of(given["clean_images"])
    given["clean_images"].fill_(0)
    assert torch.equal(losses_of(model, given)["loss_diffusion"], expected)


def test_batch_without_latents_and_clean_images_is_refused(config):
    cfg = config()
    model = build(cfg)
    losses_of(model, batch(cfg))
    given = {name: value for name, value in batch(cfg).items() if name != "clean_images"}
    features = torch.rand(B, 128, 4, 2)
    with pytest.raises(ValueError, match=r"got \[\]"), EventStorage():  # nothing of it is left
        model.losses(model.heads(features, given["targets"]), given["targets"])
    expected = r"expected 'latents' or 'clean_images' .* got \['images', 'targets'\]; set INPUT"
    with pytest.raises(ValueError, match=expected):
        losses_of(model, given)


def test_clean_images_of_another_size_are_refused(config):
    cfg = config()
    given = batch(cfg)
    given["clean_images"] = torch.zeros(B, 3, 30, 16)
    with pytest.raises(ValueError, match=r"multiples of 4 .*got \[30, 16\]"):
        losses_of(build(cfg), given)


def test_instance_condition_on_a_head_of_several_features_is_refused(config):
    cfg = config(BDB)  # a configuration with both is refused before
    model = build(cfg)
    instance = build(config(MODEL__DIFFUSION__CONDITION="instance")).diffusion_branch.condition
    model.diffusion_branch.condition = instance
    with pytest.raises(ValueError, match=r"expected features of 128 dimensions .*got \(4, 16\)"):
        losses_of(model, batch(cfg))


def test_branch_of_a_copied_model_is_its_own(config):
    cfg = config()
    model = build(cfg)
    twin = copy.deepcopy(model)
    losses_of(twin, batch(cfg))["loss_diffusion"].backward()
    assert twin.diffusion_branch.condition.prompts.grad.any()
    assert twin.heads.weight.grad.any()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_evaluation_has_nothing_of_the_branch(config):
    cfg = config()
    model = build(cfg).eval()
    images = batch(cfg)["images"]
    seen = inputs_of_branch(model)
    alone = build(config(MODEL__DIFFUSION__ENABLED=False)).eval()
    with torch.no_grad():
        assert torch.equal(model({"images": images.clone()}), alone({"images": images.clone()}))
        assert torch.equal(model(images.clone()), alone(images.clone()))
    assert not seen


def test_architecture_without_losses_is_refused(config):
    branch = build(config()).diffusion_branch
    with pytest.raises(
        ValueError, match=r"losses\(outputs, targets\) .*got Linear, which has none"
    ):
        attach(nn.Linear(2, 2), branch, 1.0)


def test_mean_of_logits_and_joined_features_by_hand():
    branches = [
        {"pred_class_logits": torch.tensor([[1.0, 3.0]]), "features": torch.tensor([[1.0, 2.0]])},
        {"features": torch.tensor([[3.0]])},
        {"pred_class_logits": torch.tensor([[3.0, 8.0]])},
    ]
    assert mean_logits(branches).tolist() == [[2.0, 5.5]]
    assert joined_features(branches).tolist() == [[1.0, 2.0, 3.0]]
    with pytest.raises(ValueError, match=r"an output 'pred_class_logits' .*got \[\['features'\]\]"):
        mean_logits([{"features": torch.zeros(1, 2)}])
