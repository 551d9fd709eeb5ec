"""Neighbours of features: nearest images, k-reciprocal sets, Jaccard distances, clusters."""
