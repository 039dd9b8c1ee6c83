"""Drawn people to train on."""

import numpy as np

from hpr.poses import FloatArray
from hpr.seeds import Purpose
from hpr.skeleton import POSETRACK15
from hpr.synthetic.scene import Clip
from hpr.synthetic.tree import MIN_KEYPOINTS, keypoint_count
from hpr.training.dataset import PEOPLE_PER_IMAGE, AnnotatedPerson, Latest, PeopleDataset
from hpr.training.lazy_image import LazyImage


class SyntheticPeople(PeopleDataset):
    """Drawn people without end: every four examples come from one frame of a new scene."""

    def __init__(self, seed: int) -> None:
        """Sets the seed; the bundled sample and the validation draw other scenes whatever it is."""
        self.skeleton = POSETRACK15
        self._seed = seed
        self._frame = Latest(self._draw)

    def person(self, index: int) -> AnnotatedPerson:
        image, poses, keypoints = self._frame(index // PEOPLE_PER_IMAGE)
        own = index % len(poses)
        neighbours, labelled = np.delete(poses, own, axis=0), np.ones(len(POSETRACK15), bool)
        return AnnotatedPerson(image, poses[own], neighbours, keypoints[own], labelled)

    def _draw(self, frame_index: int) -> tuple[LazyImage, FloatArray, FloatArray]:
        """Draws scenes until one shows enough of a person.

        Returns:
            The image, its people's keypoints that are to be found (N, 15, 2), and all of their keypoints (N, 15, 2).
        """
        attempt = 0
        while True:
            seed = (Purpose.TRAINING_SCENE, self._seed, frame_index, attempt)
            image, people = Clip(seed).frame(np.random.default_rng(seed).uniform(0, 2))
            people = [person for person in people if keypoint_count(person) >= MIN_KEYPOINTS]
            if people:
                annotated = np.array([person.annotated for person in people])
                return LazyImage.from_array(image), annotated, np.array([person.keypoints for person in people])
            attempt += 1
