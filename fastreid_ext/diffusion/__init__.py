"""Stable Diffusion as a part: loading, latents, schedulers, adapters, tiny real models."""
