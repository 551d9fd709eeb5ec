"""Identities to generate, and the reference images that each is fine-tuned on."""
