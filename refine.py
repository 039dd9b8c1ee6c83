"""See hpr/commands/refine.py."""

from hpr.commands.refine import main

if __name__ == "__main__":
    main()
