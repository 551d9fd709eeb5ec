"""Nothing in a training step waits for the device, and every tensor is made where the model is.

Two independent ways of asking. On the device "meta" tensors have no values: whatever must know one
(``item``, ``nonzero``, ``if tensor:``) raises, and so does mixing with a tensor of the CPU. On the
CPU a dispatch mode counts the operators whose result the processor must have to go on.
"""

import collections
from pathlib import Path

import pytest
import torch
from fastreid.layers import any_softmax
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.events import EventStorage, get_event_storage
from torch.utils._python_dispatch import TorchDispatchMode

from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.modeling.meta_arch import add_view_losses

from ..tiny_cfg import tiny_cfg

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
LABELS = torch.tensor([0, 0, 0, 0, 5, 5, 5, 5])
RESNET = {"MODEL.BACKBONE.DEPTH": "18x", "MODEL.BACKBONE.WITH_NL": False}
# By name: file, changed keys, views of an image.
RECIPES = {
    "BoT": ("Base-bagtricks.yml", RESNET, 1),
    "AGW": ("Base-AGW.yml", RESNET, 1),
    "SBS": ("Base-SBS.yml", RESNET, 1),
    "CIL": ("../projects/CIL/configs/Base-AGW-CIL.yml", RESNET, 3),
    "MGN": ("Base-MGN.yml", {"INPUT.SIZE_TRAIN": [96, 32]}, 1),
    "BDB": ("../projects/BDB/configs/Base-BDB.yml", RESNET, 1),
    "prototypes": (
        "../projects/DCAC/configs/Base-DCAC-baseline.yml",
        {"MODEL.BACKBONE.DEPTH": "miniature"},
        1,
    ),
    "DAPG": (
        "../projects/DAPG/configs/Base-DAPG-stage1.yml",
        {**RESNET, "MODEL.MOCO.QUEUE": 192},
        4,
    ),
    "SimCLR": ("../projects/SimCLR/configs/Base-SimCLR.yml", RESNET, 2),
    "BYOL": ("../projects/BYOL/configs/Base-BYOL.yml", RESNET, 2),
    "DBSCAN": ("../projects/Unsupervised/configs/Base-DBSCAN.yml", RESNET, 1),
    "Cluster-Contrast": ("../projects/Unsupervised/configs/Base-ClusterContrast.yml", RESNET, 1),
    "HHCL": ("../projects/Unsupervised/configs/Base-HHCL.yml", RESNET, 1),
    "HCD": (
        "../projects/DomainAdaptation/configs/Base-HCD.yml",
        {**RESNET, "MODEL.HEADS.NUM_CLASSES": 14},
        1,
    ),
    "DBSCAN-DA": ("../projects/DomainAdaptation/configs/Base-DBSCAN-DA.yml", RESNET, 1),
    "ICE": ("../projects/Unsupervised/configs/Base-ICE.yml", RESNET, 3),
    "SpCL": (
        "../projects/Unsupervised/configs/Base-SpCL.yml",
        {**RESNET, "MODEL.HEADS.NUM_CLASSES": 9},
        1,
    ),
    "CaCL": ("../projects/DomainAdaptation/configs/Base-CaCL.yml", RESNET, 1),
    "IDM": (
        "../projects/DomainAdaptation/configs/Base-IDM.yml",
        {**RESNET, "MODEL.DOMAIN_BN.ENABLED": False},
        1,
    ),
    "UNRN": ("../projects/DomainAdaptation/configs/Base-UNRN.yml", RESNET, 1),
    "GLT": ("../projects/DomainAdaptation/configs/Base-GLT.yml", RESNET, 1),
    "UNRN of the code": (
        "../projects/DomainAdaptation/configs/Base-UNRN-code.yml",
        RESNET,
        1,
    ),
    "PPLR": (
        "../projects/Unsupervised/configs/Base-PPLR.yml",
        {**RESNET, "INPUT.SIZE_TRAIN": [64, 32]},
        1,
    ),
    "classification": (
        "../projects/DiffusionReID/configs/Base-classification-pretrain.yml",
        RESNET,
        1,
    ),
    "ArcFace": ("Base-bagtricks.yml", {**RESNET, "MODEL.HEADS.CLS_LAYER": "ArcSoftmax"}, 1),
    "CosFace": ("Base-bagtricks.yml", {**RESNET, "MODEL.HEADS.CLS_LAYER": "CosSoftmax"}, 1),
    "pairs": (
        "Base-bagtricks.yml",
        {
            **RESNET,
            "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "CircleLoss", "Cosface"),
        },
        1,
    ),
    "adaptive": ("Base-bagtricks.yml", {**RESNET, "MODEL.LOSSES.CE.EPSILON": -1.0}, 1),
    "MoCo": (
        "Base-bagtricks.yml",
        {**RESNET, "MODEL.META_ARCHITECTURE": "MoCo", "MODEL.QUEUE_SIZE": 64},
        1,
    ),
    "Swin": ("Base-bagtricks.yml", {"MODEL.BACKBONE.NAME": "build_swin_backbone"}, 1),
    "ViT": ("Base-bagtricks.yml", {"MODEL.BACKBONE.NAME": "build_plain_vit_backbone"}, 1),
    "timm": (
        "Base-bagtricks.yml",
        {"MODEL.BACKBONE.NAME": "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME": "convnext_atto"},
        1,
    ),
}


def model_and_batch(name):
    file, changes, views = RECIPES[name]
    keys = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.FEAT_DIM": 0,
        "MODEL.HEADS.NUM_CLASSES": 6,
        "INPUT.SIZE_TRAIN": [64, 32],
        **changes,
    }
    keys["INPUT.SIZE_TEST"] = keys["INPUT.SIZE_TRAIN"]
    if "swin" in str(changes) or "vit" in str(changes):
        keys["MODEL.BACKBONE.DEPTH"] = "tiny" if "swin" in str(changes) else "small"
    cfg = tiny_cfg(keys, file=CONFIGS / file)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    add_view_losses(model, cfg)
    batch = {
        "images": torch.rand(8 * views, 3, *cfg.INPUT.SIZE_TRAIN) * 255,
        "targets": LABELS.repeat(views),
        "camids": (torch.arange(8) % 3).repeat(views),
        "indices": torch.arange(8).repeat(views),
        "img_paths": [""] * 8 * views,
        "views": views,
    }
    return model, batch


def test_waits_are_measured_for_every_architecture():
    """Distiller is left out: it reads its teachers from files."""
    built = {
        type(model_and_batch(name)[0]).__name__
        for name in (
            *("BoT", "prototypes", "MGN", "BDB", "DAPG", "SimCLR", "BYOL", "MoCo"),
            *("DBSCAN", "Cluster-Contrast", "HHCL", "SpCL", "ICE", "PPLR"),
            *("DBSCAN-DA", "IDM", "CaCL", "HCD", "UNRN", "GLT"),
        )
    }
    known = {
        name
        for name, kind in META_ARCH_REGISTRY._obj_map.items()
        if kind.__module__.startswith("fastreid")  # not those that other tests register
    }
    assert built | {"Distiller"} == known


@pytest.mark.parametrize("name", RECIPES)
def test_losses_and_gradients_read_no_value_and_no_other_device(name):
    model, batch = model_and_batch(name)
    model = model.to("meta")
    given = {
        key: value.to("meta") if torch.is_tensor(value) else value for key, value in batch.items()
    }
    with EventStorage():
        total = sum(model(given).values())
    total.backward()
    assert total.device.type == "meta"
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


class CountedWaits(TorchDispatchMode):
    """Counts operators whose result, or its size, the processor must know to go on."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = (
            args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else []
        )
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if is_mask or any(waiting in name for waiting in self.WAITING):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def waits_of_a_step(name, autocast_dtype=None):
    """Count over one step, without the copy of the losses, which waits once for all of them."""
    model, batch = model_and_batch(name)
    # Not Adam, which counts steps in tensors of the CPU: reading those waits for no device.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    step = TrainingStep(
        model, [batch] * 2, optimizer, None, autocast_dtype=autocast_dtype, max_skipped=0
    )
    step.start()
    with EventStorage():
        step.run(0)  # without counting, since optimizers and scalers build their state first
        with CountedWaits() as waits:
            step.run(1)
    return waits.counts


@pytest.mark.parametrize(
    "name", ["BoT", "AGW", "SBS", "CIL", "MGN", "BDB", "DAPG", "SimCLR", "ICE", "PPLR"]
)
def test_step_waits_only_for_its_losses(name):
    """fastreid's BoT waits 3 times, SBS 6 times, MGN 31 times."""
    # BatchDrop samples its rectangle on the CPU: two numbers, which wait for no device.
    expected = {"_local_scalar_dense": 2} if name == "BDB" else {}
    assert waits_of_a_step(name) == expected


def test_loss_scaling_waits_once_for_overflows():
    assert waits_of_a_step("BoT", torch.float16) == {"_local_scalar_dense": 1}


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values.sum().item(),
        lambda values: bool(values.sum() < 0),
        lambda values: values.nonzero(),
        lambda values: torch.where(values != 0)[0],
        lambda values: values[values > 0],
    ],
)
def test_counter_counts_waits(wait):
    with CountedWaits() as waits:
        wait(torch.ones(3))
    assert sum(waits.counts.values()) == 1


# --- scalars


def test_scalar_is_read_late_under_its_iteration():
    with EventStorage() as storage, CountedWaits() as waits:
        for iteration in range(3):
            storage.iter = iteration
            get_event_storage().put_scalar("cls_accuracy", torch.tensor([iteration / 4]))
        assert not waits.counts
        with storage.name_scope("later"):
            assert storage.latest() == {"cls_accuracy": (0.5, 2)}
    assert storage.history("cls_accuracy").values() == [(0.0, 0), (0.25, 1), (0.5, 2)]
    assert storage.iter == 2


def test_scalar_numbers_and_tensors_keep_their_order():
    with EventStorage() as storage:
        storage.put_scalar("loss", torch.tensor(1.0), smoothing_hint=False)
        storage.iter = 1
        storage.put_scalar("loss", 2.0, smoothing_hint=False)
        storage.put_scalar("other", torch.tensor(3.0, dtype=torch.float16))
        assert storage.latest_with_smoothing_hint(1) == {"loss": (2.0, 1), "other": (3.0, 1)}
        assert storage.history("loss").values() == [(1.0, 0), (2.0, 1)]
        assert storage.smoothing_hints() == {"loss": False, "other": True}


def test_scalar_keeps_its_value_when_the_tensor_changes():
    value = torch.ones(())
    with EventStorage() as storage:
        storage.put_scalar("loss", value)
        value.zero_()
        assert storage.latest()["loss"] == (1.0, 0)


# --- labels of PreciseBN


@pytest.mark.parametrize("name", ["BoT", "MGN"])
def test_labels_of_minus_one_are_zero_as_in_fastreid(name):
    model, batch = model_and_batch(name)
    seen = []
    model.losses = lambda *outputs: seen.append(outputs[-1]) or {}
    with torch.no_grad():
        model({**batch, "targets": torch.full((8,), -1)})
        model(batch)
    marked, real = seen
    assert marked.tolist() == [0] * 8
    assert real.tolist() == LABELS.tolist()
    assert type(real[:3]) is torch.Tensor


def test_margin_layers_have_their_own_forward():
    """A new margin layer of fastreid would wait, and compute in half precision."""
    layers = [getattr(any_softmax, name) for name in any_softmax.__all__]
    assert all(
        hasattr(layer.forward, "_fastreid_ext") for layer in layers if layer.__name__ != "Linear"
    )
