"""The annotated people that a training learns from."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from hpr.settings import checked
from hpr.errors import UserError
from hpr.formats import Format
from hpr.images import Image, ImageSource
from hpr.poses import BoolArray, FloatArray, Frame, IntArray
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.seeds import Purpose, generator
from hpr.synthetic.scene import Clip
from hpr.synthetic.tree import MIN_KEYPOINTS, keypoint_count
from hpr.training.views import View

PEOPLE_PER_IMAGE = 4
"""Examples in a row that come from one image: drawing and decoding take longer than all else."""


@dataclass(frozen=True)
class AnnotatedPerson:
    """One person in an image.

    Attributes:
        image: The image, whose pixels are made when they are asked for.
        pose: (K, 2) true keypoints in image_xy, NaN where there is none.
        neighbours: (M, K, 2) those of the image's other people.
        keypoints: (K, 2) also those that are hidden or outside of the image, as far as they are known.
        labelled: (K,) keypoints of which the annotation says where they are, or that they are not to be found. The
            others are neither punished nor learnt. By default all.
        ignored: Polygons (n, 2) in image_xy with people who are not annotated: what the network finds in them is
            neither right nor wrong.
        is_complete: Whether a keypoint that the skeleton does not have is not to be found, rather than unlabelled.
    """

    image: View
    pose: FloatArray
    neighbours: FloatArray
    keypoints: FloatArray
    labelled: BoolArray = None  # type: ignore[assignment]
    ignored: tuple[FloatArray, ...] = ()
    is_complete: bool = False

    def __post_init__(self) -> None:
        """Labels all keypoints where nothing is said about it."""
        if self.labelled is None:
            object.__setattr__(self, "labelled", np.ones(len(self.pose), bool))

    def moved(self, image: View, place: Callable[[FloatArray], FloatArray]) -> "AnnotatedPerson":
        """Returns the person in a changed image.

        Args:
            image: That.
            place: Returns where points (..., 2) of the present image are in the changed one.
        """
        pose, neighbours, keypoints = (place(points) for points in (self.pose, self.neighbours, self.keypoints))
        ignored = tuple(place(polygon) for polygon in self.ignored)
        return replace(self, image=image, pose=pose, neighbours=neighbours, keypoints=keypoints, ignored=ignored)

    def in_skeleton(self, own: Skeleton, other: Skeleton) -> "AnnotatedPerson":
        """Returns the person with the keypoints of another skeleton, by their names.

        Args:
            own: Of the K keypoints.
            other: Of those that are returned; one that is not here is unlabelled, or not to be found by `is_complete`.
        """
        pose, keypoints = own.convert(np.stack([self.pose, self.keypoints]), other)
        labelled = own.convert(self.labelled[None].astype(np.float64), other, float(self.is_complete))[0] > 0
        neighbours = own.convert(self.neighbours, other)
        return replace(self, pose=pose, keypoints=keypoints, neighbours=neighbours, labelled=labelled)


class People(Protocol):
    """Where examples come from: annotated people in images. What has an end has a length, too: `Sized`."""

    @property
    def skeleton(self) -> Skeleton:
        """Of the poses."""

    def person(self, index: int) -> AnnotatedPerson:
        """Returns the index-th person, without end."""


class SyntheticPeople:
    """Drawn people: every four examples are from a new frame of a new scene."""

    skeleton = POSETRACK15

    def __init__(self, seed: int) -> None:
        """Sets the seed; that of the bundled sample and that of the validation are others."""
        self._seed = seed
        self._latest: tuple[int, View, FloatArray, FloatArray] | None = None

    def person(self, index: int) -> AnnotatedPerson:
        """See `People`."""
        frame = index // PEOPLE_PER_IMAGE
        if self._latest is None or self._latest[0] != frame:
            image, poses, keypoints = self._draw(frame)
            self._latest = (frame, View.of(image), poses, keypoints)
        _, view, poses, keypoints = self._latest
        return _person_of(view, poses, keypoints, index % len(poses))

    def _draw(self, number: int) -> tuple[Image, FloatArray, FloatArray]:
        """Draws scenes until one shows enough of a person.

        Returns:
            An image, its people's keypoints that are to be found (N, 15, 2), and all of them (N, 15, 2).
        """
        attempt = 0
        while True:
            seed = (Purpose.TRAINING_SCENE, self._seed, number, attempt)
            image, people = Clip(seed).frame(np.random.default_rng(seed).uniform(0, 2))
            people = [person for person in people if keypoint_count(person) >= MIN_KEYPOINTS]
            if people:
                annotated, exact = ([person.annotated for person in people], [person.keypoints for person in people])
                return image, np.array(annotated), np.array(exact)
            attempt += 1


Unlabelled = Literal["mask", "absent"]
"""What a keypoint is that an annotation says nothing about: left out of the loss, or not to be found."""

Annotations = str | Path | Sequence[str | Path]
"""A folder or file of annotations, or several of which the first that is there is meant."""


class AnnotatedPeople:
    """People from annotation files, all of them once before one comes again.

    Images come in an order of chance, up to four people of one in a row, so that it is decoded once for these. Everyone
    with a keypoint is a person to learn from. Crowds and people without one are regions in which nothing counts.

    Where an annotation has no place of a keypoint, it says nothing about it, save in PoseTrack: there a keypoint that
    is found and not annotated is scored as a false one (docs/formats.md, section 4), and so is not to be found.
    """

    @checked
    def __init__(
        self,
        file_format: Format,
        annotations: Annotations,
        images: ImageSource,
        seed: int,
        unlabelled: Unlabelled = "mask",
        validation_file: str | Path | None = None,
    ) -> None:
        """Reads the annotations.

        Args:
            file_format: Of the files.
            annotations: A folder of .json files, or one file; or several, see `first_present`.
            images: Where the images are.
            seed: Of the order.
            unlabelled: What keypoints are that the annotations say nothing about; "absent" knows no ignore regions.
            validation_file: Of the data set; where it is not there, a tenth of the images is left to the validation.

        Raises:
            UserError: There are no annotations, one is broken, or none has a keypoint.
        """
        frames = posed_frames(file_format, first_present(annotations), True, validation_file)
        self._frames = [frame.select(frame.is_posed) for frame in frames]
        self.skeleton = self._frames[0].skeleton
        names = annotated_skeleton(file_format).names if file_format.metric == "posetrack" else ()
        self._always_labelled = np.array([name in names for name in self.skeleton.names])
        self._is_complete = unlabelled == "absent"
        self._images, self._seed = images, seed
        self._counts = np.array([len(frame) for frame in self._frames])
        self._order: tuple[int, IntArray] | None = None
        self._latest: tuple[int, View] | None = None

    def __len__(self) -> int:
        """Returns the number of people: an epoch."""
        return int(self._counts.sum())

    def person(self, index: int) -> AnnotatedPerson:
        """See `People`.

        Raises:
            UserError: The image is absent, cannot be decoded, or lies outside of its folder.
        """
        epoch, place = divmod(index, len(self))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._shuffled(generator(Purpose.TRAINING_ORDER, self._seed, epoch)))
        number, person = self._order[1][place].tolist()
        frame = self._frames[number]
        found = _person_of(self._image(number), frame.poses, frame.poses, person)
        if self._is_complete:
            return replace(found, is_complete=True)
        labelled = ~np.isnan(found.pose[:, 0]) | self._always_labelled
        return replace(found, labelled=labelled, ignored=frame.ignore_regions)

    def _shuffled(self, random: np.random.Generator) -> IntArray:
        """Returns (people, 2) the places of all frames' people, of each person the frame's and the person's own."""
        frames = np.repeat(np.arange(len(self._counts)), self._counts)
        people = np.arange(len(frames)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        # A frame's people in an order of chance; each four of them stay together wherever they come.
        mixed = np.lexsort((random.random(len(frames)), frames))
        visits = frames * (self._counts.max() // PEOPLE_PER_IMAGE + 1) + people // PEOPLE_PER_IMAGE
        _, own = np.unique(visits, return_inverse=True)
        order = np.argsort(random.permutation(own.max() + 1)[own], kind="stable")
        return np.column_stack([frames, people[mixed]])[order]

    def _image(self, number: int) -> View:
        """Returns the image of a frame; the latest one is kept, once it is decoded."""
        if self._latest is None or self._latest[0] != number:
            self._latest = (number, View.of_frame(self._images, self._frames[number]))
        return self._latest[1]


def annotated_skeleton(file_format: Format) -> Skeleton:
    """Returns the keypoints that annotators mark: PoseTrack's files have slots for ears, too, which stay empty."""
    return POSETRACK15 if file_format.metric == "posetrack" else file_format.skeletons[0]


def first_present(annotations: Annotations) -> Path:
    """Returns a location, or of several the first that is there.

    Raises:
        UserError: None of them is.
    """
    if isinstance(annotations, str | Path):
        return Path(annotations)
    for path in annotations:
        if Path(path).exists():
            return Path(path)
    expected = " or ".join(str(path) for path in annotations) or "a file of annotations"
    raise UserError(f"expected {expected}, found none; set dataset.root to the data set's folder as it was downloaded")


_IMAGES_PER_HELD_OUT = 10


def is_for_training(image: str) -> bool:
    """Returns whether an image is one of the nine in ten that are not for validation, by the checksum of its name."""
    return zlib.crc32(image.encode(errors="surrogatepass")) % _IMAGES_PER_HELD_OUT != 0


def posed_frames(
    file_format: Format, annotations: Path, training: bool, validation_file: str | Path | None = None
) -> list[Frame]:
    """Reads all files and returns the frames in which somebody has a keypoint.

    Args:
        file_format: Of the files.
        annotations: Where they are.
        training: Whether the frames are to be learnt from, rather than validated on.
        validation_file: Of the data set. Where it should be there and is not, the files are for both, and a tenth of
            the images is left to the validation; otherwise, and where it is None, all frames are returned.

    Raises:
        UserError: There are no files, one is broken, or there is no such frame.
    """
    is_split = validation_file is not None and not Path(validation_file).exists()
    clips = [clip for path in file_format.sources(annotations) for clip in file_format.read_annotated(path)]
    frames = [frame for clip in clips for frame in clip.frames if frame.is_posed.any()]
    if is_split:
        frames = [frame for frame in frames if is_for_training(frame.image) == training]
    if not frames:
        use = "" if training else " to validate on"
        raise UserError(f"{annotations}: expected people with keypoints{use}, found none")
    return frames


def _person_of(image: View, poses: FloatArray, keypoints: FloatArray, number: int) -> AnnotatedPerson:
    """Returns one of the people in an image, of whom these keypoints (N, K, 2) are to be found and all known."""
    return AnnotatedPerson(image, poses[number], np.delete(poses, number, axis=0), keypoints[number])
