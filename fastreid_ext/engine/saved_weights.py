"""The part of a model that its checkpoints hold.

A module with the attribute ``left_out_of_checkpoints = True`` is not in them: a frozen network of
another file, say a diffusion model of 3 GB, that the configuration brings back.
"""

from collections.abc import Mapping

from torch import Tensor, nn

MARK = "left_out_of_checkpoints"


def saved_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model without the modules that are left out of checkpoints.

    Raises:
        ValueError: a module that is left out has parameters that are trained.
    """
    prefixes = tuple(f"{name}." for name in left_out(model))
    return {
        name: value for name, value in model.state_dict().items() if not name.startswith(prefixes)
    }


def load_saved_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load what :func:`saved_weights` returned.

    Raises:
        RuntimeError: other tensors than those of left-out modules are missing, or there are more.
    """
    own = model.state_dict()
    kept = {name: own[name] for name in own.keys() - saved_weights(model).keys()}
    model.load_state_dict({**weights, **kept})


def left_out(model: nn.Module) -> list[str]:
    """Return the names of the modules that checkpoints leave out.

    Raises:
        ValueError: one of them has parameters that are trained.
    """
    names = [name for name, module in model.named_modules() if getattr(module, MARK, False)]
    for name in names:
        trained = [
            key for key, p in model.get_submodule(name).named_parameters() if p.requires_grad
        ]
        if trained:
            raise ValueError(
                f"expected frozen parameters in {name}, whose {MARK} is set, got trained ones: "
                f"{', '.join(trained[:4])}; call requires_grad_(False) on it, or do not set {MARK}"
            )
    return names
