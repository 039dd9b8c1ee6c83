"""See hpr/commands/learn_errors.py."""

from hpr.commands.entry import learn_errors

if __name__ == "__main__":
    learn_errors()
