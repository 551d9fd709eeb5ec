"""What the benchmarks of ``tools/benchmarks/`` share: clocks, peers, and what is measured."""
