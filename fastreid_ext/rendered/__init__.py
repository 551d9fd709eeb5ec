"""Rendered persons: a deterministic, licence-free person re-identification benchmark.

Read in this order: ``identities`` and ``outfits`` (who wears what), ``dressing`` (their geometry),
``domains`` and ``scenes`` (where the cameras hang), ``person_renderer`` (one picture),
``camera_effects`` (what the sensor makes of it), ``plan`` and ``writer`` (the folders on disk).
"""
