"""See hpr.cli/show_errors.py."""

from hpr.cli.entry import show_errors

if __name__ == "__main__":
    show_errors()
