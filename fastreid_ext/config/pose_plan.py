"""Keys of ``GENERATION.POSE_PLAN``: poses and viewpoints to generate (tools/pose_persons.py plan).

``GENERATION.POSE_GUIDED.FITS`` and ``BODY_MODEL`` name the bodies in the images of the set.
"""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_pose_plan_keys(generation: CfgNode) -> None:
    """Add our keys to ``GENERATION.POSE_PLAN``."""
    plan = generation.POSE_PLAN = CN()
    # Folder of the trained generator (tools/pose_persons.py train), for "run".
    plan.GENERATOR = ""
    # Number of images in all, shared by the identities (a remainder is left out); 45,500 for
    # Market-1501 in the paper.
    plan.IMAGES = 45500
    # Number of images of each identity, in place of IMAGES; 0 = IMAGES decides.
    plan.PER_IDENTITY = 0
    # Maximum number of reference images of an identity, spread over its cameras and used in turn.
    plan.REFERENCES = 6
    # Sampler of (pose, view): "uniform" = every pose and every view alike, as in the paper;
    # "inverse_density" = what the set lacks, by azimuth, elevation and cluster of poses;
    # "canonical" = one neutral step from front, left, back and right, in turn.
    plan.SAMPLER = "uniform"
    # Poses: "bank" = SOURCES, "set" = those of the set itself.
    plan.POSES = "bank"
    # Viewpoints: "all" = ELEVATION and all azimuths, "set" = those of the set itself.
    plan.VIEWS = "all"
    # Sources of the bank: "gait", "unusual", motion files, folders of motion files.
    plan.SOURCES = ["unusual"]
    # Number of poses of the bank; 20 in the paper.
    plan.BANK = 20
    # Lowest and highest elevation of the camera in degrees.
    plan.ELEVATION = [0.0, 30.0]
    # Random place and size of the person in the image, as detectors frame people.
    plan.PLACEMENT = True
    # Cells in which the distribution is measured.
    plan.AZIMUTH_BINS = 12
    plan.ELEVATION_BINS = 3
    plan.POSE_CLUSTERS = 8
