"""Scores of predicted poses against ground truth."""
