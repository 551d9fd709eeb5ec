"""Stage 6: decide which generated images are good enough to train on.

Models score the images once, and the scores are written into the rows of the set. Decisions read
the scores alone and are repeated whenever the thresholds change.

reid        cosine similarity to the mean feature of the identity's real images, and the lead over
            the nearest other identity (``reid_similarity``, ``reid_margin``)
cctf        probability of the identity by a classifier trained on the real images (``cctf``)
clip        probability of the wanted text among others by CLIP (``clip``)
duplicates  bits between the perceptual hashes of the image and of a better image that is kept
            (``duplicate_distance``)

Files: ``source_file`` holds the features of the real images and ``source_store`` keeps them on
disk; ``scoring`` scores identities by ``reid``, ``scores`` (cctf) and ``clip``, ``records`` notes
which models have scored which files; ``thresholds`` and ``decide`` decide; ``run`` joins them.
"""

from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.whole_set import (
    FilterReport,
    plot_filter_results,
    run_filter,
)

__all__ = ["FilterReport", "FilterRun", "plot_filter_results", "run_filter"]
