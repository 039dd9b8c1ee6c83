"""See hpr/commands/evaluate.py."""

from hpr.commands.evaluate import main

if __name__ == "__main__":
    main()
