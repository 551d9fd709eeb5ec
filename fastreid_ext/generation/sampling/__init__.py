"""Generate images: reference sets of prompts, and the images of each identity."""
