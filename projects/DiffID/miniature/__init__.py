"""Diff-ID in miniature: what generated poses and viewpoints give a biased training set."""
