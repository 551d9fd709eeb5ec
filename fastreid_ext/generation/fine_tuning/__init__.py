"""Fine-tune the diffusion model on identities: adapters of several at once, or the whole model."""
