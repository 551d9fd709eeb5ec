"""Backbones: what turns images into a feature map."""
