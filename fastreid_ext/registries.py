"""Registries of samplers and losses, open to users like fastreid's four registries.

- ``SAMPLER_REGISTRY``: names of ``DATALOADER.SAMPLER_TRAIN``; its entries are in
  :mod:`fastreid_ext.data.samplers`.
- ``LOSS_REGISTRY``: names of ``MODEL.LOSSES.NAME``; its entries are in
  :mod:`fastreid_ext.modeling.losses.registered`.

docs/extending.md adds to each.
"""

from fastreid.utils.registry import Registry

SAMPLER_REGISTRY = Registry("SAMPLER")
LOSS_REGISTRY = Registry("LOSS")


def registered_names(registry: Registry) -> list[str]:
    """List the names of a registry in the order of registration."""
    return list(registry._obj_map)  # fastreid's class offers no way to list its names
