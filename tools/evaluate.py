"""See hpr.cli/evaluate.py."""

from hpr.cli.entry import evaluate

if __name__ == "__main__":
    evaluate()
