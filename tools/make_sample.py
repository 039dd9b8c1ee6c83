"""See hpr.cli/make_sample.py."""

from hpr.cli.entry import make_sample

if __name__ == "__main__":
    make_sample()
