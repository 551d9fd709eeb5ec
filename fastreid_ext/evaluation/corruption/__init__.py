"""Evaluation on corrupted test images (-C test sets): index, measurement, results, comparison."""
