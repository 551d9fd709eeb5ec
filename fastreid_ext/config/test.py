"""Keys of ``TEST``."""

from fastreid.config import CfgNode


def add_test_keys(test: CfgNode) -> None:
    """Add our keys to ``TEST``."""
    # Loader processes during evaluation (4 in fastreid).
    test.NUM_WORKERS = 4
    # Variant of k-reciprocal re-ranking for TEST.RERANK: "evaluator" = that of fastreid's
    # evaluator, "released" = that of the authors' code, which papers report;
    # evaluation/reranking.py lists the differences.
    test.RERANK.RULE = "evaluator"
    test.VISIBLE_INFRARED = CfgNode()
    # Galleries that are drawn for SYSU-MM01, LLCM and RenderedVI; results are their means.
    test.VISIBLE_INFRARED.TRIALS = 10
    # Images of each identity and camera in a gallery of SYSU-MM01 and RenderedVI: 1 or 10.
    test.VISIBLE_INFRARED.SHOTS = 1
