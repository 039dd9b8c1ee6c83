"""See hpr/commands/show_errors.py."""

from hpr.commands.entry import show_errors

if __name__ == "__main__":
    show_errors()
