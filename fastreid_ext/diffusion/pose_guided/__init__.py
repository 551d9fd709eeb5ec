"""The pose-guided generator of Diff-ID: a person of a reference image in another pose and view.

Two U-Nets of Stable Diffusion, one that denoises and one that reads the reference image, guiders
that read depth, normal and skeleton maps, and the embedding of CLIP's image encoder as context.
"""

from fastreid_ext.diffusion.pose_guided.pipeline import PoseGuidedPipeline, References
from fastreid_ext.diffusion.pose_guided.pose_guider import PoseGuider

__all__ = ["PoseGuidedPipeline", "PoseGuider", "References"]
