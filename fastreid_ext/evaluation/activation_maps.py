"""Activation maps: Grad-CAM of the cosine similarity between an image and a reference.

The score that is traced back is f . r / |f|, the cosine similarity of the image's feature f with
the reference's unit feature r, the length |f| held constant. Were the length differentiated too,
the gradient would be orthogonal to f, and regions that raise and lower the similarity would cancel.
Held constant, the map of a model with average pooling and a linear neck is exactly the share that
each position adds to the similarity, which is the decomposition of [1].

Letters: B images, D feature dimension, H x W pixels, C x h x w feature map.

[0] Selvaraju et al., "Grad-CAM", ICCV 2017, https://arxiv.org/abs/1610.02391
[1] Stylianou et al., "Visualizing Deep Similarity Networks", WACV 2019
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn
from torch.nn import functional as F

_MGN_BRANCHES = ("b1", "b2", "b3")


@dataclasses.dataclass(frozen=True)
class SimilarityTo:
    """Cosine similarity of a feature (D,) with a reference, as a target of Grad-CAM.

    Args:
        reference: (D,) feature of the reference, of unit length.
    """

    reference: Tensor

    def __call__(self, feature: Tensor) -> Tensor:
        """Compute the similarity, a scalar in [-1, 1]."""
        return feature @ self.reference / feature.norm().detach().clamp(min=1e-12)


def activation_maps(
    model: nn.Module, images: Tensor, reference: Tensor, layers: Sequence[str] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute maps of where images resemble a reference, and their similarities.

    Example::

        model = load_model(cfg, "demo/train/model_final.pth").eval()
        maps, similarities = activation_maps(model, images, reference=model(images)[0])

    Args:
        model: model in evaluation mode, from images to features (B, D).
        images: (B, 3, H, W) RGB in [0, 255], as from the test loader.
        reference: (D,) feature of the reference, of any length.
        layers: names of modules with an output (B, C, h, w); the maps of several are averaged.
            Without names: see :func:`map_layers`.

    Returns:
        Maps (B, H, W), each scaled to [0, 1] by its own largest value, 0 for no contribution or a
        negative one; and cosine similarities (B,).

    Raises:
        ValueError: a layer is unknown or gives no map, or features are not finite.
    """
    modules, reshape = _layers_named(model, layers) if layers else map_layers(model)
    _expect_maps(model, images[:1], modules, reshape)
    target = SimilarityTo(F.normalize(reference.detach().to(images.device), dim=0))
    grad_cam = GradCAM(model, modules, reshape_transform=reshape)
    # The maps of a frozen network, such as a teacher, would have no gradient.
    frozen = [p for module in modules for p in module.parameters() if not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            maps = grad_cam(images, targets=[target] * len(images))
            similarity = torch.stack([target(feature) for feature in grad_cam.outputs.detach()])
    finally:
        grad_cam.activations_and_grads.release()
        model.zero_grad(set_to_none=True)
        for parameter in frozen:
            parameter.requires_grad_(False)
    if not similarity.isfinite().all():
        raise ValueError(
            "expected finite features, got NaN or infinity; did training diverge? Choose another "
            "checkpoint"
        )
    return maps, similarity.float().cpu().numpy()


def map_layers(model: nn.Module) -> tuple[list[nn.Module], Callable[[Tensor], Tensor] | None]:
    """Find the last layers with spatial positions, and a function from their output to maps.

    - MGN: its three branches ``b1``, ``b2``, ``b3``, whose maps are averaged.
    - A ViT with the class token as feature: the input of the last block's attention, its patches
      as a map. After that block the patches no longer reach the feature.
    - ICE: the output of the teacher's backbone, which is the one that is evaluated.
    - All others, BDB too: the output of the backbone.
    """
    if all(hasattr(model, branch) for branch in _MGN_BRANCHES):
        return [getattr(model, branch) for branch in _MGN_BRANCHES], None
    backbone = getattr(model, "teacher_backbone", model.backbone)
    if getattr(getattr(backbone, "as_map", None), "tokens", "") == "class":
        grid = tuple(backbone.patch_embed.grid_size)
        return [backbone.blocks[-1].norm1], lambda tokens: _patches_as_map(tokens, grid)
    return [backbone], None


def _patches_as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reshape tokens (B, 1 + N, C), the class token first, to a map (B, C, h, w)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def _layers_named(model: nn.Module, names: Sequence[str]) -> tuple[list[nn.Module], None]:
    modules = dict(model.named_modules())
    unknown = [name for name in names if name not in modules or not name]
    if unknown:
        top = ", ".join(name for name, _ in model.named_children())
        raise ValueError(
            f"unknown layer {unknown[0]!r}; expected names of modules such as 'backbone.layer3' or "
            f"'backbone'; the model's parts are {top}"
        )
    return [_last_of(modules[name]) for name in names], None


def _last_of(module: nn.Module) -> nn.Module:
    """Find the last module of a sequence: fastreid's ResNet calls its blocks, not its layers."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module


@torch.no_grad()
def _expect_maps(
    model: nn.Module,
    images: Tensor,
    modules: Sequence[nn.Module],
    reshape: Callable[[Tensor], Tensor] | None,
) -> None:
    """Check that every module gives one map (B, C, h, w) of several positions."""
    outputs: dict[nn.Module, object] = {}
    hooks = [m.register_forward_hook(lambda m, _, out: outputs.update({m: out})) for m in modules]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for module in modules:
        output = outputs.get(module)
        if isinstance(output, Tensor) and reshape is not None:
            output = reshape(output)
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2:].numel() == 1:
            raise ValueError(
                f"expected a layer that gives a map (B, C, h, w) of several positions, got {shape} "
                f"from {type(module).__name__}; name another one, before the pooling"
            )
