"""See hpr/commands/fuzz.py."""

from hpr.commands.entry import fuzz

if __name__ == "__main__":
    fuzz()
