"""Poses and viewpoints that a training set lacks: measure them, and plan images that show them."""
