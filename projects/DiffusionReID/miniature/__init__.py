"""Diffusion-ReID in miniature: a small base model, trained here, and the replication with it."""
