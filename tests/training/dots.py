"""Short trainings on small examples: people of coloured dots."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import pose_errors, small_network
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, default_collate

from hpr.crops import Crop
from hpr.images import Image
from hpr.models.network import Refiner
from hpr.poses import FloatArray
from hpr.runtime.processes import ALONE, Processes
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.training.augmentation import Augmentation
from hpr.training.dataset import AnnotatedPerson, PeopleDataset
from hpr.training.examples import Example, Examples
from hpr.training.lazy_image import LazyImage
from hpr.training.loop import Trainer, TrainingSettings, train
from hpr.training.schedules import WarmUpCosine

CANVAS = (96, 80)
SGD = partial(torch.optim.SGD, lr=0.0)
ADAM_W = partial(torch.optim.AdamW, lr=0.0)
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
        return alone(image, pose)


class PosesOnly(PeopleDataset):
    """Given poses (N, K, 2) in a white image, one after the other."""

    def __init__(self, poses: FloatArray, skeleton: Skeleton, size: tuple[int, int] = (120, 100)) -> None:
        self.skeleton = skeleton
        self._poses = poses
        self._image = np.full((*size, 3), 255, np.uint8)

    def __len__(self) -> int:
        return len(self._poses)

    def person(self, index: int) -> AnnotatedPerson:
        return alone(self._image, self._poses[index % len(self)])


def sized_person(size: int) -> PosesOnly:
    """A person in a square image of a given size, with a head that makes the scale 1."""
    pose = np.full((15, 2), size / 2)
    pose[14, 1] += 49
    return PosesOnly(pose[None], POSETRACK15, (size, size))


def alone(image: Image, pose: FloatArray) -> AnnotatedPerson:
    """A person whose keypoints are all labelled, and nobody else."""
    nobody, labelled = np.empty((0, *pose.shape)), np.ones(len(pose), bool)
    return AnnotatedPerson(LazyImage.from_array(image), pose, nobody, pose, labelled)


def pixels_of(image: LazyImage) -> Image:
    """Returns all pixels (H, W, 3) of an image."""
    return image.crop(Crop(1.0, image.size, (0, 0, *image.size)))


def dot_colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    step = 240 // len(skeleton)
    return [(10 + step * number, 255 - step * number, 128) for number in range(len(skeleton))]


def dot_at(image: Image, point: FloatArray, skeleton: Skeleton = POSETRACK15) -> int:
    """Returns the keypoint whose colour is nearest to that of a point (x, y)."""
    x, y = np.clip(np.round(point).astype(int), 0, [image.shape[1] - 1, image.shape[0] - 1])
    return int(np.abs(image[y, x].astype(int) - dot_colours(skeleton)).sum(axis=1).argmin())


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
    defaults |= {"precision": "fp32", "max_gradient_norm": 1.0, "ema": 0.9, "num_workers": 0, "backbone_lr": 1.0}
    defaults |= {"validate_every": 100, "checkpoint_every": 100, "log_every": 1}
    return TrainingSettings.model_validate({**defaults, **changes})


def trainer(
    optimizer: Callable[..., Optimizer] = ADAM_W,
    rate: float = 0.01,
    warm_up: int = 2,
    network: Callable[[], Refiner] = small_network,
    processes: Processes = ALONE,
    **changes: Any,
) -> Trainer:
    torch.manual_seed(0)
    settings, schedule = training_settings(**changes), WarmUpCosine(rate, warm_up)
    return Trainer(network(), optimizer, schedule, settings, torch.device("cpu"), processes)


def run(folder: Path, resume: bool = False, stop_at: int | None = None, **changes: Any) -> Trainer:
    """Trains six steps in a folder, or until after step `stop_at`."""
    model = trainer(**{"steps": 6, **changes})
    source = examples(skeleton=model.network.skeleton)
    train(model, source, None, folder, resume, "demo", stop_requested=lambda: model.progress.step == stop_at)
    return model


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
