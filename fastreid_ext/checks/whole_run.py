"""Keys outside every section."""

from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, Range

ROWS: list[Row] = rows_of(
    "",
    # The upper end is numpy's; every process adds its rank.
    SEED=Range(0, 2**31, is_below=True, also=(-1,), hint="-1 samples a seed at each start"),
    OUTPUT_DIR=ANYTHING,
    CUDNN_BENCHMARK=ANYTHING,
)
