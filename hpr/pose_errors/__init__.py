"""Mistakes of pose estimators: drawn for training, measured on real predictions."""
