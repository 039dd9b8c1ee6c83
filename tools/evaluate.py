"""See hpr/commands/evaluate.py."""

from hpr.commands.entry import evaluate

if __name__ == "__main__":
    evaluate()
