"""Models: losses, backbones, heads and meta-architectures; importing them registers them."""

from fastreid_ext.modeling import backbones, heads, losses, meta_arch

__all__ = ["backbones", "heads", "losses", "meta_arch"]
