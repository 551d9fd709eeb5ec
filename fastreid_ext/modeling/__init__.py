"""Backbones, heads and meta-architectures, registered in fastreid's registries on import."""

from fastreid_ext.modeling import heads, meta_arch

__all__ = ["heads", "meta_arch"]
