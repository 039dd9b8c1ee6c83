"""Training: datasets, augmentation, the loop, checkpoints and validation."""
