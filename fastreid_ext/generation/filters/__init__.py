"""Stage 6: which of the drawn images are good enough to train on.

Scores are computed once by models and written into the rows of the set; which rows are kept is
decided from the scores alone, as often as the thresholds change.

reid        cosine similarity to the mean feature of the person's photographs, and whether no other
            person's is nearer (``reid_similarity``, ``reid_margin``)
cctf        probability that a classifier of the photographs gives to the person (``cctf``)
clip        probability that CLIP gives to the wanted text among others (``clip``)
duplicates  bits between perceptual hashes of the image and a kept better one
            (``duplicate_distance``)
"""

from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.whole_set import FilterReport, draw_pictures, run_filter

__all__ = ["FilterReport", "FilterRun", "draw_pictures", "run_filter"]
