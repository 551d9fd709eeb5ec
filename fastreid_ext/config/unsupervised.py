"""Keys of ``UNSUPERVISED``: training on clusters of images instead of identities."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_unsupervised_keys(cfg: CfgNode) -> None:
    """Add the keys below ``UNSUPERVISED``."""
    unsupervised = cfg.UNSUPERVISED = CN()
    # Clusters of the training images as their labels, made again before every epoch. Identities of
    # the data, where there are some, are compared with the clusters in the log and used for nothing
    # else. An epoch has SOLVER.ITERS_PER_EPOCH iterations.
    unsupervised.ENABLED = False
    # Nearest images of which an image's k-reciprocal set is made, the image itself included.
    unsupervised.K1 = 30
    # Nearest images whose sets are averaged, the image itself included; at most K1.
    unsupervised.K2 = 6
    # Largest Jaccard distance of two neighbours in DBSCAN, between 0 and 1.
    unsupervised.EPS = 0.6
    # Neighbours, the image itself included, that make an image the core of a cluster. Images that
    # are near no core are noise.
    unsupervised.MIN_SAMPLES = 4
    # Where it is above 0, clusters must stay nearly the same at EPS minus and EPS plus this; other
    # clusters dissolve into noise (SpCL, which has 0.02).
    unsupervised.EPS_GAP = 0.0
    # Noise in the epoch: "dropped" = left out, "kept" = each image is a class of its own.
    unsupervised.OUTLIERS = "dropped"
    # Epochs that share a clustering; 1 = images are clustered before every epoch. For UNRN.
    unsupervised.PERIOD = 1
    _add_curriculum(unsupervised)


def _add_curriculum(unsupervised: CfgNode) -> None:
    # Cameras of the target join one after the other, the nearest to the source first, as in CaCL;
    # with DATASETS.SOURCES. The last stage has all cameras.
    curriculum = unsupervised.CURRICULUM = CN()
    curriculum.ENABLED = False
    # Share in [0, 1) of the epochs that the stages before the last one have together, at least one
    # epoch each.
    curriculum.EARLY_SHARE = 0.4
    # "updated" = the next camera is chosen by the weights of its stage's start, "fixed" = all by
    # those of the run's start.
    curriculum.ORDER = "updated"
    # Kernel of the maximum mean discrepancy that says how near a camera is: "gaussian", whose
    # bandwidth is the median distance of source and target features, or "linear" = distance of the
    # means.
    curriculum.KERNEL = "gaussian"
    # Largest number of images of the source, and of each camera, that are compared.
    curriculum.IMAGES = 2000
    # Images that are clustered: "active" = those of cameras that have joined, "all" = all of the
    # target, of which those of other cameras are then left out.
    curriculum.CLUSTERED = "active"
