"""See hpr/commands/train.py."""

from hpr.commands.entry import train

if __name__ == "__main__":
    train()
