"""Small real models in the hub's layout: a latent diffusion pipeline, CLIP and captioners.

With random weights they are what tests run on; trained on captioned rendered persons they are the
base model of the miniature replication. Every stage of the generation takes their folders where it
takes a hub id.
"""
