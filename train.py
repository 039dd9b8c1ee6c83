"""See hpr/commands/train.py."""

from hpr.commands.train import main

if __name__ == "__main__":
    main()
