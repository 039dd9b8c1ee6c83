"""Measurements of tools/benchmark.py: speed of refining and training, and quality of refined poses."""
