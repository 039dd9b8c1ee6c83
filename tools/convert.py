"""See hpr/commands/convert.py."""

from hpr.commands.entry import convert

if __name__ == "__main__":
    convert()
