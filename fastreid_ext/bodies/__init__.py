"""Bodies, cameras, poses and the rasteriser; needs numpy and numba only."""
