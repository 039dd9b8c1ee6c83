"""See hpr/commands/benchmark.py."""

from hpr.commands.entry import benchmark

if __name__ == "__main__":
    benchmark()
