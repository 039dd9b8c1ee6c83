"""See hpr.cli/export.py."""

from hpr.cli.entry import export

if __name__ == "__main__":
    export()
