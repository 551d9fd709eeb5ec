"""Backbones, heads and meta-architectures, registered in fastreid's registries on import."""

from fastreid_ext.modeling import backbones, heads, meta_arch

__all__ = ["backbones", "heads", "meta_arch"]
