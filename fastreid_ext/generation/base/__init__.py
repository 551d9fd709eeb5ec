"""The frozen diffusion model: where it lies, loading, encoding, schedulers."""
