"""Let BLIP begin with the vision transformer of CLIP, as the paper's begins with a trained one.

From random weights a captioner learns to write long before it learns to look.

[0] Li et al., "BLIP: Bootstrapping Language-Image Pre-training", ICML 2022, sec. 4.1,
    https://arxiv.org/abs/2201.12086
"""

import torch
from torch import Tensor
from transformers import BlipVisionModel, CLIPVisionModel


@torch.no_grad()
def copy_vision(clip: CLIPVisionModel, blip: BlipVisionModel, pixels: Tensor) -> None:
    """Give BLIP's vision model the weights of CLIP's, in place.

    CLIP normalises its embeddings first, which BLIP does not: mean, scale and offset of that layer
    norm go into the embeddings exactly, and the division by each token's deviation becomes one by
    the mean deviation over ``pixels``.

    Args:
        clip: trained CLIP of the sizes and activation of ``blip``.
        blip: captioner whose vision weights are replaced in place.
        pixels: (B, 3, S, S), standardised images.

    Raises:
        ValueError: the two have other sizes.
    """
    names = ("hidden_size", "num_hidden_layers", "patch_size", "image_size", "hidden_act")
    ours = {name: getattr(blip.config, name) for name in names}
    theirs = {name: getattr(clip.config, name) for name in names}
    if ours != theirs:
        raise ValueError(f"expected vision models of one size, got {ours} and {theirs}")
    _copy_embeddings(clip, blip, pixels)
    for source, target in zip(clip.encoder.layers, blip.encoder.layers, strict=True):
        attention = source.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        target.self_attn.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
        target.self_attn.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        target.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
        for name in ("layer_norm1", "layer_norm2", "mlp"):
            getattr(target, name).load_state_dict(getattr(source, name).state_dict())
    blip.post_layernorm.load_state_dict(clip.post_layernorm.state_dict())


def _copy_embeddings(clip: CLIPVisionModel, blip: BlipVisionModel, pixels: Tensor) -> None:
    source = clip.embeddings
    target = blip.embeddings
    norm = clip.pre_layrnorm
    deviation = source(pixels).std(dim=2).mean()
    scale = norm.weight / deviation  # (width,)
    weight = source.patch_embedding.weight
    target.patch_embedding.weight.copy_((weight - weight.mean(0)) * scale[:, None, None, None])
    target.patch_embedding.bias.zero_()
    first = source.class_embedding
    target.class_embedding.copy_(((first - first.mean()) * scale)[None, None])
    places = source.position_embedding.weight  # (tokens, width)
    centred = (places - places.mean(dim=1, keepdim=True)) * scale + norm.bias
    target.position_embedding.copy_(centred[None])
