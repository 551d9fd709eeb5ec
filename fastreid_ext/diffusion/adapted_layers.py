"""Layers of a U-Net that get an adapter: those that peft's ``target_modules`` would find."""

from collections.abc import Sequence

from torch import nn

from fastreid_ext.names import unknown_name

_KEY = "GENERATION.FINE_TUNING.TARGET_MODULES"


def adapted_layers(unet: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """Find the linear layers whose name is a target, or ends in a dot and a target.

    Args:
        unet: U-Net in which the layers are searched.
        targets: names of layers or the last parts of their names, such as "to_q".

    Returns:
        Full name -> layer, in the order of the U-Net.

    Raises:
        ValueError: a target names no layer, or a layer of another kind.
    """
    modules = dict(unet.named_modules())
    found = {}
    for target in targets:
        fitting = [name for name in modules if name == target or name.endswith(f".{target}")]
        others = [name for name in fitting if not hasattr(modules[name], "in_features")]
        if others:
            raise ValueError(
                f"expected linear layers in {_KEY}, got '{target}', which names a "
                f"{type(modules[others[0]]).__name__} ({others[0]}); leave it out"
            )
        if not fitting:
            ends = {name.rsplit(".", 1)[-1] for name in modules if name}
            raise ValueError(f"{unknown_name(_KEY, target, ends)} (see unet.named_modules())")
        found.update((name, modules[name]) for name in fitting)
    return {name: found[name] for name in modules if name in found}
