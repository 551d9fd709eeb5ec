"""The part of a model that its checkpoints hold.

A module with the attribute ``left_out_of_checkpoints = True`` is not in them: a frozen network of
another file, say a diffusion model of 3 GB, that the configuration brings back. A module with the
attribute ``only_for_training = True`` is not in the checkpoint either, but what is trained of it,
and its buffers, are in a file beside it (:mod:`fastreid_ext.engine.checkpoint`), which only a
resumed run reads.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

MARK = "left_out_of_checkpoints"
TRAINING_MARK = "only_for_training"


def saved_weights(model: nn.Module) -> dict[str, Tensor]:
    """Collect the state of a model without modules that are left out or only for training.

    Raises:
        ValueError: a module that is left out has parameters that are trained.
    """
    apart = _prefixes([*left_out(model), *_marked(model, TRAINING_MARK)])
    return {name: value for name, value in model.state_dict().items() if not name.startswith(apart)}


def training_weights(model: nn.Module) -> dict[str, Tensor]:
    """Collect trained parameters and buffers of the modules that are only for training.

    Their frozen parameters come from another file, which the configuration names.
    """
    inside = _prefixes(_marked(model, TRAINING_MARK))
    apart = _prefixes(left_out(model))
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    return {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(inside) and not name.startswith(apart) and name not in frozen
    }


def load_training_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load what :func:`training_weights` collected.

    Raises:
        ValueError: the tensors are those of another module.
    """
    own = training_weights(model)
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    differing = sorted(
        name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)
    )
    if differing:
        first = differing[0]
        raise ValueError(
            f"expected the {len(shapes)} tensors of the parts that are only for training, got "
            f"{len(differing)} that differ, e.g. {first} of shape {found.get(first, 'none')} "
            f"instead of {shapes.get(first, 'none')}; were keys of MODEL.DIFFUSION or the training "
            "identities changed? Put them back, or begin a new run in another OUTPUT_DIR"
        )
    model.load_state_dict(dict(weights), strict=False)


def load_saved_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load what :func:`saved_weights` returned.

    Raises:
        RuntimeError: other tensors than those of left-out modules are missing, or there are more.
    """
    own = model.state_dict()
    kept = {name: own[name] for name in own.keys() - saved_weights(model).keys()}
    model.load_state_dict({**weights, **kept})


def left_out(model: nn.Module) -> list[str]:
    """List the names of the modules that checkpoints leave out.

    Raises:
        ValueError: one of them has parameters that are trained.
    """
    names = _marked(model, MARK)
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


def _marked(model: nn.Module, mark: str) -> list[str]:
    return [name for name, module in model.named_modules() if getattr(module, mark, False)]


def _prefixes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}." for name in names)
