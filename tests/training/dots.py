"""Small training examples: people of coloured dots."""

from typing import Any

import numpy as np
import torch
from conftest import small_network
from torch.utils.data import Dataset, default_collate

from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.poses import FloatArray
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.training.augmentation import Augmentation
from hpr.training.dataset import AnnotatedPerson, PeopleDataset
from hpr.training.examples import Example, Examples
from hpr.training.lazy_image import LazyImage
from hpr.training.loop import TrainingSettings

CANVAS = (96, 80)
EVERYTHING = Augmentation(scale=(0.85, 1.15), shift=20.0, mirror=0.5, colour=0.2, occlusion=0.5)


def only(**changes: Any) -> Augmentation:
    """Augmentation that changes nothing but what is named."""
    nothing = {"scale": (1.0, 1.0), "shift": 0.0, "mirror": 0.0, "colour": 0.0, "occlusion": 0.0}
    return Augmentation(**{**nothing, **changes})


QUIET = only()


class DotPeople(PeopleDataset):
    """People of K dots, each of its own colour."""

    def __init__(self, skeleton: Skeleton = POSETRACK15) -> None:
        self.skeleton = skeleton

    def person(self, index: int) -> AnnotatedPerson:
        random = np.random.default_rng(index)
        image = np.full((120, 100, 3), 40, np.uint8)
        cells = random.permutation(20)[: len(self.skeleton)]
        pose = np.column_stack([12 + 24 * (cells % 4), 12 + 22 * (cells // 4)]).astype(float)
        for (x, y), colour in zip(pose.astype(int), dot_colours(self.skeleton), strict=True):
            image[y - 6 : y + 7, x - 6 : x + 7] = colour
        return AnnotatedPerson.from_poses(LazyImage.from_array(image), pose[None], pose[None], 0)


class SizedPerson(PeopleDataset):
    """A person in a square image of a given size, with a head that makes the scale 1."""

    skeleton = POSETRACK15

    def __init__(self, size: int) -> None:
        self._size = size

    def person(self, index: int) -> AnnotatedPerson:
        pose = np.full((15, 2), self._size / 2)
        pose[12], pose[14] = (self._size / 2, self._size / 2), (self._size / 2, self._size / 2 + 49)
        image = np.full((self._size, self._size, 3), 255, np.uint8)
        return AnnotatedPerson.from_poses(LazyImage.from_array(image), pose[None], pose[None], 0)


class PosesOnly(PeopleDataset):
    """Given poses (N, K, 2) in an empty image, one after the other."""

    def __init__(self, poses: FloatArray, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._poses = poses

    def person(self, index: int) -> AnnotatedPerson:
        pose = self._poses[index % len(self._poses)][None]
        return AnnotatedPerson.from_poses(LazyImage.from_array(np.zeros((120, 100, 3), np.uint8)), pose, pose, 0)


def dot_colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    step = 240 // len(skeleton)
    return [(10 + step * number, 255 - step * number, 128) for number in range(len(skeleton))]


def pose_errors(chance: float = 0.1, **changes: Any) -> PoseErrors:
    table = dict.fromkeys(KEYPOINT_KINDS, chance)
    factors: dict[str, Any] = {"shift": 0.0, "crowded_swap": 1.0, "few_keypoints_miss": 1.0, **changes}
    return PoseErrors(table, table, table, table, table, **factors)


def examples(
    augmentation: Augmentation = EVERYTHING,
    people: PeopleDataset | None = None,
    chance: float = 0.1,
    canvas: tuple[int, int] = CANVAS,
    skeleton: Skeleton = POSETRACK15,
) -> Examples:
    people = people or DotPeople(skeleton)
    return Examples(people, pose_errors(chance), augmentation, canvas, small_network(skeleton), "published", seed=0)


def batch(start: int, stop: int, source: Dataset[Example] | None = None) -> Example:
    """Examples of a training set, stacked as a loader does."""
    made: Example = default_collate([(source or examples())[i] for i in range(start, stop)])
    assert isinstance(made.pixels, torch.Tensor)
    return made


def training_settings(**changes: Any) -> TrainingSettings:
    """Settings of a short training in this process."""
    defaults: dict[str, Any] = {"steps": 4, "epochs": None, "batch_size": 4, "accumulate": 1, "batch_norm": "live"}
    defaults |= {"precision": "fp32", "max_gradient_norm": 1.0, "ema": 0.9, "num_workers": 0}
    defaults |= {"validate_every": 100, "checkpoint_every": 100, "log_every": 1}
    return TrainingSettings.model_validate({**defaults, **changes})
