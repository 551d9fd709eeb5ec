"""From a labelled Re-ID set to a filtered set of generated persons (Diffusion-ReID).

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, https://arxiv.org/abs/2406.06045
"""
