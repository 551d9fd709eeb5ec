"""Which layers of a U-Net are adapted: those that peft's ``target_modules`` would find."""

import difflib
from collections.abc import Sequence

from torch import nn


def adapted_layers(unet: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return the linear layers with one of the names, or a name that ends in a dot and one.

    Raises:
        ValueError: a name without a layer, or of another kind of layer.
    """
    modules = dict(unet.named_modules())
    found = {}
    for target in names:
        fitting = [name for name in modules if name == target or name.endswith(f".{target}")]
        others = [name for name in fitting if not hasattr(modules[name], "in_features")]
        if others:
            raise ValueError(
                f"expected linear layers in GENERATION.FINE_TUNING.TARGET_MODULES, got '{target}', "
                f"which names a {type(modules[others[0]]).__name__} ({others[0]}); leave it out"
            )
        if not fitting:
            ends = {name.rsplit(".", 1)[-1] for name in modules if name}
            near = difflib.get_close_matches(target, sorted(ends), n=1)
            hint = f"did you mean '{near[0]}'?" if near else "see unet.named_modules()"
            raise ValueError(
                f"the U-Net has no layer '{target}' (GENERATION.FINE_TUNING.TARGET_MODULES); {hint}"
            )
        found.update((name, modules[name]) for name in fitting)
    return {name: found[name] for name in modules if name in found}  # in the U-Net's order
