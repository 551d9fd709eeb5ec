"""Stable Diffusion as a part: loading, latents, noising and its loss, schedulers, LoRA files."""
