"""See hpr/commands/port.py."""

from hpr.commands.entry import port

if __name__ == "__main__":
    port()
