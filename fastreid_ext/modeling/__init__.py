"""Losses, and backbones, heads and meta-architectures, which importing them registers."""

from fastreid_ext.modeling import backbones, heads, losses, meta_arch

__all__ = ["backbones", "heads", "losses", "meta_arch"]
