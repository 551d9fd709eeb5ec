"""Captions of the identities' clothes and belongings: captioner, captions file, prompts."""
