"""See hpr/commands/visualize.py."""

from hpr.commands.entry import visualize

if __name__ == "__main__":
    visualize()
