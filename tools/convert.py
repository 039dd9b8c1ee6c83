"""See hpr.cli/convert.py."""

from hpr.cli.entry import convert

if __name__ == "__main__":
    convert()
