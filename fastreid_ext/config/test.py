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
