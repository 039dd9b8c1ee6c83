"""See hpr.cli/fuzz.py."""

from hpr.cli.entry import fuzz

if __name__ == "__main__":
    fuzz()
