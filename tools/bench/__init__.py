"""Measured speed of each part, for tools/benchmark.py."""
