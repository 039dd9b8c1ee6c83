"""See hpr.cli/port.py."""

from hpr.cli.entry import port

if __name__ == "__main__":
    port()
