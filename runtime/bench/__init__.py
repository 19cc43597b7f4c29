"""Benchmarks that never assert a time: ours against peers in the same run, against the machine's measured rates."""
