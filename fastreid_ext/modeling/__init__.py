"""Backbones, heads and meta-architectures, registered in fastreid's registries on import."""
