"""A network that learns a few real people by heart pulls wrong poses of them back onto the annotation."""

from pathlib import Path

import numpy as np
import pytest
from conftest import pose_errors
from dots import only, trainer
from torch.utils.data import default_collate

from hpr.crops import Crop
from hpr.formats.coco import Coco
from hpr.images import open_images
from hpr.models.network import Refiner
from hpr.models.registry import build_network
from hpr.poses import FloatArray, FrameKey
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import PersonKey
from hpr.skeleton import COCO17
from hpr.training.dataset import AnnotatedPeople
from hpr.training.examples import Example, Examples

REAL = Path("/work/shared/real/coco")
STEPS, COUNT = 45, 10
SMALL = only(scale=(0.45, 0.45))  # people of about 160 pixels


def wrong_poses(network: Refiner) -> list[Example]:
    """The five annotated people, with mistakes in two of five keypoints."""
    people = AnnotatedPeople(Coco(), REAL / "person_keypoints.json", open_images(REAL), seed=0)
    examples = Examples(people, pose_errors(0.1), SMALL, (176, 144), network, "body", seed=0)
    return [examples[number] for number in range(COUNT)]


def learnt(network: Refiner, examples: list[Example]) -> Refiner:
    model = trainer(rate=0.004, warm_up=10, network=lambda: network, steps=STEPS, batch_size=len(examples))
    batch = default_collate(examples)
    for _ in range(STEPS):
        model.step([batch])
    model.synchronize()
    return model.averaged


def refined(network: Refiner, examples: list[Example]) -> FloatArray:
    """Returns (N, K, 2) in crop_xy, as refining has them."""
    crops = []
    for index, example in enumerate(examples):
        (y, x), (height, width) = example.start, example.size
        pixels = np.ascontiguousarray(example.pixels[y : y + height, x : x + width])
        crop = Crop(1.0, (width, height), (0, 0, width, height))
        crops.append(PersonCrop(PersonKey(FrameKey(0, 0), index), crop, pixels, example.estimate))
    found = {result.key.person: result for result in PoseRefiner(network, "cpu", flip=False).refine_crops(crops)}
    return np.array([found[index].keypoints for index in range(len(examples))])


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the real pictures are not part of the project")
def test_wrong_poses_are_pulled_back() -> None:
    network = build_network("demo", COCO17)
    examples = wrong_poses(network)
    truth, estimates = (np.array([getattr(own, name) for own in examples]) for name in ("truth", "estimate"))
    before = np.linalg.norm(estimates - truth, axis=-1)
    after = np.linalg.norm(refined(learnt(network, examples), examples) - truth, axis=-1)

    # Where there are both an estimate and an annotation, within the crop.
    sides = np.array([own.size[::-1] for own in examples])[:, None]
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(before) & ((truth >= 0) & (truth < sides)).all(axis=-1)
    assert known.sum() > 80
    assert before[known].mean() > 5
    assert after[known].mean() < 0.3 * before[known].mean()
