"""See hpr/commands/port.py."""

from hpr.commands.port import main

if __name__ == "__main__":
    main()
