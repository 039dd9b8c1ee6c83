"""Random streams: each begins with a purpose, so that no two of them draw the same numbers by accident."""

from enum import IntEnum, unique

import numpy as np


@unique
class Purpose(IntEnum):
    """What a random stream is for; the comment of each purpose says which keys follow it.

    Each purpose has a fixed number of keys, since numpy takes (1, 2) and (1, 2, 0) for the same seed.
    """

    TRAINING_SCENE = 1  # seed of the training, image, attempt
    TRAINING_EXAMPLE = 2  # seed of the training, example
    TRAINING_ORDER = 3  # seed of the training, epoch
    TRAINING_MIXTURE = 12  # seed of the training, number of the pass over the images
    VALIDATION_SCENE = 4  # index of the clip
    VALIDATION_ESTIMATE = 5  # index of the file
    SAMPLE_SCENE = 6  # seed of the sample, clip
    CLIP_ESTIMATE = 7  # seed of the clip: an estimator's poses
    CLIP_NOISE = 8  # seed of the clip, time in milliseconds: the camera's noise
    BENCHMARK_SCENE = 11  # seed of the benchmark, clip
    PICTURE_SCENE = 9  # seed of the picture, attempt
    PICTURE_ESTIMATE = 10  # seed of the picture, number of the estimate
    TRAINING_SCORES = 13  # seed of the training, example: an estimator's scores


def generator(purpose: Purpose, *keys: int) -> np.random.Generator:
    """Returns the random generator of a purpose and its keys."""
    return np.random.default_rng((purpose, *keys))
