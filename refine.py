"""See hpr.cli/refine.py."""

from hpr.cli.entry import refine

if __name__ == "__main__":
    refine()
