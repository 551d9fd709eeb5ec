"""Small real models in the hub's layout: a latent diffusion pipeline, CLIP and captioners.

With random weights they are what tests run on; trained on captioned rendered persons they are the
base model of Diffusion-ReID's miniature replication. Everything that takes a hub id takes their
folders too.
"""
