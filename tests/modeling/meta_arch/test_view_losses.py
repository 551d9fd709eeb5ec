"""Losses over views and mixed images in fastreid's, our and a user's architecture."""

import copy
import multiprocessing
import os

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.events import EventStorage
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from fastreid_ext.modeling.losses import (
    js_consistency_loss,
    multi_positive_contrastive_loss,
)
from fastreid_ext.modeling.meta_arch import add_view_losses
from fastreid_ext.modeling.meta_arch.view_losses import ViewLosses

from ...tiny_cfg import dotted, tiny_cfg

V = 3
B = 4
CIL = {
    "INPUT.VIEWS.RECIPE": "cil",
    "INPUT.AUGMIX.METHOD": "paper",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss", "JSConsistencyLoss"),
    "MODEL.LOSSES.JS.SCALE": 12.0,
}
ALL_LOSSES = (*CIL["MODEL.LOSSES.NAME"], "MultiPositiveContrastiveLoss")
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.HEADS.NUM_CLASSES": 5,
    "INPUT.SIZE_TRAIN": [64, 32],
}
BDB = {
    "MODEL.META_ARCHITECTURE": "BDB",
    "MODEL.HEADS.NAME": "BDBHead",
    "MODEL.HEADS.NECK_FEAT": "before",
    "MODEL.HEADS.BDB.GLOBAL_DIM": 8,
    "MODEL.HEADS.BDB.PART_DIM": 8,
}


def config(**changes: object) -> CfgNode:
    return tiny_cfg(SMALL, dotted(changes))


def build(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg).train()
    add_view_losses(model, cfg)
    return model


def batch(views: int = V, **more: object) -> dict:
    generator = torch.Generator().manual_seed(1)
    targets = torch.tensor([0, 0, 3, 3]).repeat(views)
    images = torch.rand(views * B, 3, 64, 32, generator=generator) * 255
    return {"images": images, "targets": targets, "views": views, **more}


def losses_of(model: nn.Module, given: dict) -> dict[str, torch.Tensor]:
    with EventStorage():
        return model(given)


def test_model_without_views_and_mixing_is_unchanged():
    model = build(config())
    assert "losses" not in vars(model)
    assert not model._forward_pre_hooks


def test_view_losses_keep_parameters_and_their_names():
    with_views = build(config(**CIL))
    without = build(config())
    assert with_views.state_dict().keys() == without.state_dict().keys()
    assert len(list(with_views.modules())) == len(list(without.modules()))


def test_view_losses_give_the_model_the_clean_view_and_js_all():
    model = build(config(**CIL))
    losses = losses_of(model, batch())
    losses = {name: loss.detach() for name, loss in losses.items()}
    outputs = outputs_of(model)
    targets = batch()["targets"][:B]
    cls = cross_entropy_loss(outputs["cls_outputs"][:B], targets, 0.0)
    triplet = triplet_loss(outputs["features"][:B], targets, 0.3, False, False)
    js = 12 * js_consistency_loss([outputs["pred_class_logits"][v * B :][:B] for v in range(V)])
    torch.testing.assert_close(losses, {"loss_cls": cls, "loss_triplet": triplet, "loss_js": js})
    assert js > 0


def outputs_of(model: nn.Module, given: dict | None = None) -> dict[str, torch.Tensor]:
    given = given or batch()
    with torch.no_grad():
        return model.heads(model.backbone(model.preprocess_image(given)), given["targets"])


def test_view_losses_give_the_model_all_views_on_request():
    model = build(config(**CIL, INPUT__VIEWS__SUPERVISED="all"))
    loss = losses_of(model, batch())["loss_cls"].detach()
    expected = cross_entropy_loss(outputs_of(model)["cls_outputs"], batch()["targets"], 0.0)
    torch.testing.assert_close(loss, expected)


def test_view_losses_contrast_against_all_views_of_other_identities():
    cfg = config(
        **CIL | {"MODEL.LOSSES.NAME": ALL_LOSSES}, MODEL__LOSSES__MULTI_POSITIVE__SCALE=0.25
    )
    model = build(cfg)
    loss = losses_of(model, batch())["loss_contrast"].detach()
    rows = F.normalize(outputs_of(model)["features"], dim=1)
    by_view = rows.unflatten(0, (V, B))
    targets = batch()["targets"]
    negatives = torch.stack([rows[targets != targets[b]] for b in range(B)])
    expected = multi_positive_contrastive_loss(
        by_view[0], by_view[1:].transpose(0, 1), negatives, 0.7
    )
    torch.testing.assert_close(loss, 0.25 * expected)


def test_view_losses_of_bdb_share_the_weight():
    model = build(config(**CIL | BDB | {"MODEL.LOSSES.NAME": ALL_LOSSES}))
    torch.manual_seed(3)
    losses = {name: loss.detach() for name, loss in losses_of(model, batch()).items()}
    assert set(losses) == {
        f"loss_{kind}_{branch}"
        for kind in ("cls", "triplet", "js", "contrast")
        for branch in ("global", "part")
    }
    torch.manual_seed(3)  # the same stripe
    outputs = outputs_of(model)
    for branch in ("global", "part"):
        js = js_consistency_loss(outputs[branch]["pred_class_logits"].chunk(V))
        torch.testing.assert_close(losses[f"loss_js_{branch}"], 6 * js)


def test_view_losses_of_mgn_are_named_as_its_losses():
    mgn = {
        "MODEL.META_ARCHITECTURE": "MGN",
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.BACKBONE.DEPTH": "50x",
        "MODEL.HEADS.EMBEDDING_DIM": 4,
        "INPUT.SIZE_TRAIN": [96, 32],
    }
    model = build(config(**CIL | mgn))
    given = batch()
    given["images"] = F.interpolate(given["images"], (96, 32))
    losses = losses_of(model, given)
    js = {name for name in losses if name.startswith("loss_js")}
    assert js == {f"loss_js_{b}" for b in ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")}
    assert len([name for name in losses if name.startswith("loss_cls_b")]) == 8
    sum(losses.values()).backward()
    assert model.backbone[0].weight.grad.abs().sum() > 0


class PlainNet(nn.Module):
    """A user's architecture: own names, targets by keyword."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, batch: dict) -> dict:
        features = batch["images"].mean(dim=(2, 3)) / 255
        outputs = {"features": features, "pred_class_logits": self.layer(features)}
        return self.losses(outputs, labels=batch["targets"])

    def losses(self, net_outputs: dict, labels: torch.Tensor) -> dict:
        self.seen = len(labels)
        return {"loss_own": F.cross_entropy(net_outputs["pred_class_logits"], labels)}


class NoLosses(nn.Module):
    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()


@pytest.fixture
def user_architectures():
    for architecture in (PlainNet, NoLosses):
        META_ARCH_REGISTRY.register(architecture)
    yield
    for architecture in (PlainNet, NoLosses):
        del META_ARCH_REGISTRY._obj_map[architecture.__name__]


@pytest.mark.usefixtures("user_architectures")
def test_view_losses_in_any_architecture_with_losses():
    model = build(config(**CIL, MODEL__META_ARCHITECTURE="PlainNet"))
    losses = losses_of(model, batch())
    assert set(losses) == {"loss_own", "loss_js_net"}
    assert model.seen == B


@pytest.mark.usefixtures("user_architectures")
def test_view_losses_refuse_an_architecture_without_losses():
    with pytest.raises(ValueError, match=r"expected a meta-architecture with losses\(outputs, tar"):
        build(config(**CIL, MODEL__META_ARCHITECTURE="NoLosses"))


MIXED = {"INPUT.MIXUP.ENABLED": True, "MODEL.LOSSES.NAME": ("CrossEntropyLoss",)}


def test_mixed_images_are_weighted_between_both_identities():
    model = build(config(**MIXED))
    partners = torch.tensor([3, 3, 0, 1])
    given = batch(1, mix={"targets": partners, "weight": 0.3})
    with EventStorage() as storage:
        loss = model(given)["loss_cls"].detach()
    logits = outputs_of(model, given)["cls_outputs"]
    own = cross_entropy_loss(logits, given["targets"], 0.0)
    partner = cross_entropy_loss(logits, partners, 0.0)
    torch.testing.assert_close(loss, 0.3 * own + 0.7 * partner)
    accuracy = (logits.argmax(1) == given["targets"]).float().mean()
    assert storage.history("cls_accuracy").values() == [(float(accuracy), 0)]
    plain = losses_of(model, batch(1))["loss_cls"].detach()  # a batch that was not mixed
    torch.testing.assert_close(plain, own)


def test_mixed_images_need_fitting_partners():
    model = build(config(**MIXED))
    given = batch(1, mix={"targets": torch.zeros(3), "weight": 0.3})
    with pytest.raises(ValueError, match=r"a mixing partner for each of 4 rows in batch\['mix'\]"):
        losses_of(model, given)


def test_view_losses_learn_in_mixed_precision():
    model = build(config(**CIL | {"MODEL.LOSSES.NAME": ALL_LOSSES}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(model, batch())
    assert losses["loss_js"].dtype == losses["loss_contrast"].dtype == torch.float32
    (losses["loss_js"] + losses["loss_contrast"]).backward()
    assert model.heads.weight.grad.abs().sum() > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def losses_below_ddp(store, answers):
    """Child: losses of the same batch, alone and below DDP, and a backward pass."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=0, world_size=1
    )
    model = build(config(**CIL))
    alone = {name: float(loss) for name, loss in losses_of(model, batch()).items()}
    losses = losses_of(DistributedDataParallel(model, broadcast_buffers=False), batch())
    sum(losses.values()).backward()
    answers.put((alone, {name: float(loss) for name, loss in losses.items()}))
    answers.close()
    answers.join_thread()
    # Without freeing DDP: gloo's threads may then wait for Python's lock for ever.
    os._exit(0)


def test_view_losses_work_below_ddp(tmp_path):
    # Forked, so that fastreid need not be imported again.
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(
        target=losses_below_ddp, args=(tmp_path / "store", answers), daemon=True
    )
    child.start()
    alone, below = answers.get(timeout=60)
    child.join(timeout=60)
    assert below == pytest.approx(alone)


def test_view_losses_of_a_copy_have_their_own_views():
    model = build(config(**CIL))
    twin = copy.deepcopy(model)
    given = batch()
    twin.eval()(given)  # changes what the twin remembers
    losses_of(model, given)
    assert twin.losses._host.__self__ is twin
    assert "loss_js" in losses_of(twin.train(), given)


def test_view_losses_leave_evaluation_unchanged():
    with_views = build(config(**CIL)).eval()
    without = build(config()).eval()
    given = {key: value for key, value in batch(1).items() if key != "views"}
    torch.testing.assert_close(with_views(given), without(given), rtol=0, atol=0)


def test_view_losses_refuse_one_view():
    model = build(config(**CIL))
    given = {key: value for key, value in batch(1).items() if key != "views"}
    with pytest.raises(ValueError, match=r"at least two views for JSConsistencyLoss .* got one"):
        losses_of(model, given)


def test_view_losses_refuse_rows_of_incomplete_images():
    model = build(config(**CIL))
    with pytest.raises(ValueError, match=r"a multiple of batch\['views'\] = 5 rows, got 12"):
        losses_of(model, batch(3) | {"views": 5})


def test_view_losses_name_a_missing_output():
    losses = ViewLosses(lambda outputs, targets: {}, js_scale=1.0)
    losses.remember(None, ({"views": 2},))
    with pytest.raises(ValueError, match=r"expected an output 'pred_class_logits' .* \[\['feat"):
        losses({"features": torch.zeros(4, 2)}, torch.zeros(4))
