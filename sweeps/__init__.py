"""Sweeps: a config's `sweep()` as runs, which engines launch, and what came of them."""
