"""See hpr/commands/refine.py."""

from hpr.commands.entry import refine

if __name__ == "__main__":
    refine()
