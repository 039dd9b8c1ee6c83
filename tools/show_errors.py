"""See hpr/commands/show_errors.py."""

from hpr.commands.show_errors import main

if __name__ == "__main__":
    main()
