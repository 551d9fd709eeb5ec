"""ResNet with a first layer for each modality and one trunk, the network of visible-infrared Re-ID.

The stem (convolution, batch norm, ReLU, max-pooling) exists twice, as ``visible`` and ``infrared``;
``layer1`` to ``layer4`` and the non-local blocks are shared [0]. Layers and blocks are those of
fastreid's ResNet, so every depth, norm, ``LAST_STRIDE``, IBN and SE work as there. Each row goes
through the stem of its modality; a batch may hold one modality alone, as in evaluation.

Letters: B images, H height, W width, D channels of the map, h and w its size.

[0] Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021, and
    https://github.com/mangye16/Cross-Modal-Re-ID-baseline
"""

import copy
import logging
from collections.abc import Mapping

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones.resnet import ResNet, build_resnet_backbone
from torch import Tensor, nn

logger = logging.getLogger(__name__)

VISIBLE = 0
INFRARED = 1
STEMS = ("visible", "infrared")  # at the place of each modality's number
# Attributes of fastreid's ResNet: blocks of each layer that non-local ones follow.
_NON_LOCAL = ("NL_1_idx", "NL_2_idx", "NL_3_idx", "NL_4_idx")
_PARTS = ("conv1", "bn1", "relu", "maxpool")


class TwoStreamResNet(ResNet):
    """fastreid's ResNet with two stems.

    Example:
        >>> from fastreid.config import get_cfg
        >>> cfg = get_cfg()
        >>> cfg.MODEL.BACKBONE.DEPTH = "18x"
        >>> backbone = TwoStreamResNet(build_resnet_backbone(cfg))
        >>> backbone(torch.rand(2, 3, 64, 32), torch.tensor([0, 1])).shape
        torch.Size([2, 512, 4, 2])

    Args:
        resnet: network whose stem is copied for both modalities and whose other layers are used.

    Attributes:
        modalities: (B,) int, modality of the rows of the next batch, 0 visible and 1 infrared, from
            :func:`follow_modalities`; None = not known.
    """

    def __init__(self, resnet: ResNet) -> None:
        nn.Module.__init__(self)  # ResNet's would build all layers a second time
        for name in STEMS:
            stem = nn.Sequential()
            for part in _PARTS:
                stem.add_module(part, copy.deepcopy(getattr(resnet, part)))
            self.add_module(name, stem)
        for name, module in resnet.named_children():
            self.add_module(name, nn.Identity() if name in _PARTS else module)
        for name in _NON_LOCAL:
            setattr(self, name, getattr(resnet, name))
        self.modalities: Tensor | None = None
        self._has_warned = False

    def forward(self, images: Tensor, modalities: Tensor | None = None) -> Tensor:
        """Compute the feature map (B, D, h, w) of images (B, 3, H, W).

        Args:
            images: normalised images of any modality, in any order.
            modalities: (B,) modality of each image; None = those of the batch that the model was
                called with, or else visible, with a warning.

        Raises:
            ValueError: a number of modalities other than B, or a modality other than 0 and 1.
        """
        if modalities is None:
            modalities = self.modalities
        if modalities is None:
            self._warn()
            return super().forward(self.visible(images))
        modalities = torch.as_tensor(modalities, device=images.device)
        if modalities.shape != images.shape[:1]:
            raise ValueError(
                f"expected a modality for each of {len(images)} images, got "
                f"{tuple(modalities.shape)}; give batch['modalities'] with 0 for visible and 1 for "
                "infrared rows"
            )
        return super().forward(self._stems(images, modalities))

    def _stems(self, images: Tensor, modalities: Tensor) -> Tensor:
        rows = [torch.nonzero(modalities == number)[:, 0] for number in range(len(STEMS))]
        if sum(map(len, rows)) < len(images):
            raise ValueError(
                "expected modalities 0 (visible) and 1 (infrared), got "
                f"{sorted(set(modalities.tolist()))}; correct modality_of(path) of the data set"
            )
        parts = [
            getattr(self, name)(images[own])
            for name, own in zip(STEMS, rows, strict=True)
            if len(own)
        ]
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _warn(self) -> None:
        if not self._has_warned:
            logger.warning(
                "TwoStreamResNet got images without modalities and takes all of them for visible; "
                "call follow_modalities(model) and give batch['modalities']"
            )
        self._has_warned = True

    @staticmethod
    def with_both_stems(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the first layer of a ResNet's tensors to both stems, and leave all others."""
        both = {}
        for name, tensor in tensors.items():
            is_stem = name.split(".")[0] in _PARTS
            names = [f"{stem}.{name}" for stem in STEMS] if is_stem else [name]
            both.update(dict.fromkeys(names, tensor))
        return both


def two_stream_resnet(cfg: CfgNode) -> TwoStreamResNet:
    """Build a two-stream ResNet of ``MODEL.BACKBONE`` with random weights; stems begin equal."""
    return TwoStreamResNet(build_resnet_backbone(cfg))


def follow_modalities(model: nn.Module) -> None:
    """Let a model's two-stream backbone take the modality of each row from the batch.

    A model with another backbone stays as it is.

    Args:
        model: meta-architecture that is called with a batch, a dict with ``modalities`` (B,).
    """
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, TwoStreamResNet):
        model.register_forward_pre_hook(_remember)


def _remember(model: nn.Module, inputs: tuple) -> None:
    batch = inputs[0] if inputs else None
    if not isinstance(batch, Mapping) or "modalities" not in batch:
        raise ValueError(
            "expected a batch with 'modalities' (0 visible, 1 infrared) for a two-stream backbone, "
            f"got {sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__}; the "
            "loaders of fastreid_ext have it"
        )
    model.backbone.modalities = torch.as_tensor(batch["modalities"])
