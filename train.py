"""See hpr.cli/train.py."""

from hpr.cli.entry import train

if __name__ == "__main__":
    train()
