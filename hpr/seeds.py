"""Sources of chance: a purpose first, so that no two of them draw the same numbers by accident."""

from enum import IntEnum, unique

import numpy as np


@unique
class Purpose(IntEnum):
    """What is drawn. numpy takes (1, 2) and (1, 2, 0) for one seed: each purpose has a fixed count of numbers."""

    TRAINING_SCENE = 1
    """Seed of the training, image, attempt."""
    TRAINING_EXAMPLE = 2
    """Seed of the training, example."""
    TRAINING_ORDER = 3
    """Seed of the training, epoch."""
    TRAINING_MIXTURE = 12
    """Seed of the training, round of visits of images."""
    VALIDATION_SCENE = 4
    """Clip."""
    VALIDATION_ESTIMATE = 5
    """File."""
    SAMPLE_SCENE = 6
    """Seed of the sample, clip."""
    CLIP_ESTIMATE = 7
    """Seed of a clip: what an estimator makes of it."""
    CLIP_NOISE = 8
    """Seed of a clip, thousandths of a second: the camera's noise."""
    BENCHMARK_SCENE = 11
    """Seed of the benchmark, clip."""
    PICTURE_SCENE = 9
    """Seed of a picture, attempt."""
    PICTURE_ESTIMATE = 10
    """Seed of a picture, number of the estimate."""
    TRAINING_SCORES = 13
    """Seed of the training, example: an estimator's scores."""


def generator(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Returns the source of chance for a purpose."""
    return np.random.default_rng((purpose, *numbers))
