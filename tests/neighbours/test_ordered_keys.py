"""Keys that sort by distance, then by position."""

import numpy as np
import torch

from fastreid_ext.neighbours.ordered_keys import ordered_keys


def test_ordered_keys_sort_by_distance_then_position():
    values = [3.0, -np.inf, -0.0, 0.0, -1.5, np.inf, 1e-40, -1e-40, 3.0, -1.5]
    keys = ordered_keys(torch.tensor([values]))
    assert keys[0].argsort().tolist() == np.argsort(values, kind="stable").tolist()
