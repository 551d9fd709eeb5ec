"""The shadow map's reading, on numbers a person can check."""

import numpy as np

from fastreid_ext.rendered.shading import lit


def test_a_point_under_the_shadow_map_is_dark_and_beside_it_is_lit():
    depth = np.full((10, 10), np.inf, np.float32)
    depth[4:6, 4:6] = 48.0  # something 2 m above, straight overhead
    frame = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0], [0.0, 0.0, 10.0]])
    assert lit(depth, frame, 0.5, 0.0, 0.5) == 0.0
    assert lit(depth, frame, 0.1, 0.0, 0.1) == 1.0
    assert lit(depth, frame, 0.5, 2.5, 0.5) == 1.0  # above it
    assert lit(depth, frame, 30.0, 0.0, 0.5) == 1.0  # outside the map
