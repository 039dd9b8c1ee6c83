"""See hpr/commands/make_sample.py."""

from hpr.commands.entry import make_sample

if __name__ == "__main__":
    make_sample()
