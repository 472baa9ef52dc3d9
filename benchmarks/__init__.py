"""What `scripts/benchmark.py` measures, each beside what it is held against."""
