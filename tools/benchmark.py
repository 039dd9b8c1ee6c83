"""See hpr.cli/benchmark.py."""

from hpr.cli.entry import benchmark

if __name__ == "__main__":
    benchmark()
