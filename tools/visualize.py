"""See hpr.cli/visualize.py."""

from hpr.cli.entry import visualize

if __name__ == "__main__":
    visualize()
