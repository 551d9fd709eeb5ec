"""Rendered persons: a deterministic, licence-free person re-identification benchmark.

Read in this order: ``identities`` and ``outfits`` (who wears what), ``dressing`` (their geometry),
``domains`` and ``scenes`` (where the cameras hang), ``person_renderer`` (radiance of one image),
``camera_effects`` (lens, sensor and encoder), ``plan`` and ``writer`` (the folders on disk).
"""
