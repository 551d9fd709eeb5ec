"""What the benchmarks of ``tools/benchmark_*.py`` share: clocks, peers, and what is measured."""
