"""The annotated people that a training learns from."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import json_files, read_image
from hpr.formats import Format
from hpr.poses import FloatArray
from hpr.skeleton import NUM_JOINTS
from hpr.training.synthetic.scene import Clip
from hpr.training.synthetic.tree import MIN_JOINTS

PEOPLE_PER_IMAGE = 4
"""Examples in a row that come from one drawn image: drawing takes longer than all else."""


class SyntheticPeople:
    """Drawn people: every four examples are from a new frame of a new scene."""

    def __init__(self, seed: int) -> None:
        """Sets the seed; that of the bundled sample and that of the validation are others."""
        self._seed = seed
        self._latest: tuple[int, NDArray[np.uint8], FloatArray] | None = None

    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        """See `examples.People`."""
        frame = index // PEOPLE_PER_IMAGE
        if self._latest is None or self._latest[0] != frame:
            self._latest = (frame, *self._draw(frame))
        _, image, people = self._latest
        number = index % len(people)
        return image, people[number], np.delete(people, number, axis=0)

    def _draw(self, number: int) -> tuple[NDArray[np.uint8], FloatArray]:
        """Returns an image and its people (N, 15, 2); tries until somebody can be seen in it."""
        random = np.random.default_rng((self._seed, number))
        attempt = 0
        while True:
            image, people = Clip((self._seed, number, attempt)).frame(random.uniform(0, 2))
            joints = np.array([person.annotated for person in people]).reshape(-1, NUM_JOINTS, 2)
            joints = joints[(~np.isnan(joints[..., 0])).sum(axis=1) >= MIN_JOINTS]
            if len(joints):
                return image, joints
            attempt += 1


class AnnotatedPeople:
    """People from annotation files, all of them once before one comes again."""

    def __init__(self, file_format: Format, annotations: str, root: str, seed: int) -> None:
        """Reads the annotations.

        Args:
            file_format: Of the files.
            annotations: A folder of .json files, or one file.
            root: The folder that the images' names start from.
            seed: Of the order.

        Raises:
            UserError: There are no annotations, or none with a joint.
        """
        self._images: list[tuple[Path, FloatArray]] = []
        people = []
        for path in json_files(Path(annotations), "dataset.training.annotations"):
            for frame in file_format.read(path).frames:
                joints = np.array([p.joints for p in frame.persons if p.present.any()]).reshape(-1, NUM_JOINTS, 2)
                people += [(len(self._images), number) for number in range(len(joints))]
                self._images.append((Path(root) / frame.image, joints))
        if not people:
            raise UserError(f"dataset.training.annotations={annotations}: expected people with joints, found none")
        self._people = np.array(people)
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        """See `examples.People`."""
        epoch, place = divmod(index, len(self._people))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, epoch)).permutation(len(self._people)))
        image, number = self._people[self._order[1][place]]
        path, joints = self._images[image]
        return read_image(path), joints[number], np.delete(joints, number, axis=0)
