"""See hpr.cli/learn_errors.py."""

from hpr.cli.entry import learn_errors

if __name__ == "__main__":
    learn_errors()
