"""Clocks, peers and measurements of the benchmarks in ``tools/benchmarks/``."""
