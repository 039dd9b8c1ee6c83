"""Scores of estimated poses against annotated ones."""
