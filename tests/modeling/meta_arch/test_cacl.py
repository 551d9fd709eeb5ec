"""CaCL: target images weigh as their cluster's cameras say."""

import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.modeling.losses import camera_diversity_weights

from ...tiny_cfg import tiny_cfg
from .test_idm import BASELINE

CACL = BASELINE | {
    "MODEL.META_ARCHITECTURE": "CaCL",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
}
CACL = {name: value for name, value in CACL.items() if ".TRI." not in name}
LABELS = torch.tensor([0, 0, 1, 1, -1, 2, 2, 2])
CAMERAS = torch.tensor([0, 1, 1, 1, 0, 0, 0, 1])
TARGETS = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4])


def losses_of(cameras):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(CACL)).train()
    features = F.normalize(torch.randn(12, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    model.num_sources = 2
    model.begin_sources(features[:4], torch.tensor([0, 0, 1, 1]))
    model.begin_clusters(features[4:], LABELS, cameras)
    outputs = {}
    model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    images = torch.rand(8, 3, 64, 32, generator=torch.Generator().manual_seed(2)) * 255
    with EventStorage():
        return model({"images": images, "targets": TARGETS}), outputs


def test_losses_are_those_of_each_domain():
    losses, outputs = losses_of(CAMERAS)
    each = F.cross_entropy(
        outputs["cls_outputs"][:, :5], TARGETS, label_smoothing=0.1, reduction="none"
    )
    weights = camera_diversity_weights(LABELS, CAMERAS)[TARGETS[4:] - 2]
    torch.testing.assert_close(losses["loss_cls_source"], each[:4].mean())
    expected = sum(weight * loss for weight, loss in zip(weights, each[4:], strict=True)) / 4
    torch.testing.assert_close(losses["loss_cls_target"], expected)
    assert losses.keys() == {"loss_cls_source", "loss_cls_target"}


def test_one_camera_makes_it_cross_entropy():
    losses, outputs = losses_of(torch.zeros(8, dtype=torch.long))
    logits = outputs["cls_outputs"][4:, :5]
    expected = F.cross_entropy(logits, TARGETS[4:], label_smoothing=0.1)
    torch.testing.assert_close(losses["loss_cls_target"], expected)
