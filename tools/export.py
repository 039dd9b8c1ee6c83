"""See hpr/commands/export.py."""

from hpr.commands.entry import export

if __name__ == "__main__":
    export()
