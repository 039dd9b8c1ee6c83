"""The annotated people that a training learns from."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import Field

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats import Format
from hpr.formats.records import Original
from hpr.images import ImageSource
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, PoseSequence
from hpr.seeds import Purpose, generator
from hpr.settings import NonNegative, checked
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.training.lazy_image import LazyImage

PEOPLE_PER_IMAGE = 4
"""Consecutive examples that come from one image, since decoding it takes longer than everything else."""

Unlabelled = Literal["mask", "absent"]
"""How keypoints without an annotation are treated: left out of the loss, or as keypoints that are not there."""

Annotations = str | Path | Sequence[str | Path]
"""A folder or file of annotations, or several of which the first existing one is used."""

Value = TypeVar("Value")

_IMAGES_PER_HELD_OUT = 10

_ROUND = 1000
"""Image visits in a round, of which each dataset gets its exact share; weights count to a thousandth."""


@dataclass(frozen=True)
class AnnotatedPerson:
    """One person in an image.

    Attributes:
        image: The image, whose pixels are made on demand.
        pose: (K, 2) true keypoints in image_xy that the network is to find, NaN for the others.
        neighbours: (M, K, 2) true keypoints of the image's other people.
        keypoints: (K, 2) all known keypoints, including hidden ones and those outside the image.
        labelled: (K,) keypoints whose annotation says where they are or that they are not there. The others are left
            out of the loss.
        ignored: Polygons (n, 2) in image_xy around people who are not annotated; no loss there.
        is_complete: Whether a keypoint that the skeleton lacks counts as labelled and not there.
        box: (4,) x0, y0, x1, y1 of the person in image_xy; NaN where unknown.
        estimates: (E, K, 3) x and y in image_xy and score, 0 to 1, of E estimators' poses of the person, NaN where
            missing; None without any.
    """

    image: LazyImage
    pose: FloatArray
    neighbours: FloatArray
    keypoints: FloatArray
    labelled: BoolArray
    ignored: tuple[FloatArray, ...] = ()
    is_complete: bool = False
    box: FloatArray = field(default_factory=lambda: np.full(4, np.nan))
    estimates: FloatArray | None = None

    def moved(self, image: LazyImage, move: Callable[[FloatArray], FloatArray]) -> "AnnotatedPerson":
        """Returns the person in a changed image, to which `move` maps points (..., 2) of the present one."""
        estimates = self.estimates
        if estimates is not None:
            estimates = np.concatenate([move(estimates[..., :2]), estimates[..., 2:]], axis=-1)
        centre = (self.box[:2] + self.box[2:]) / 2  # a rotated box keeps its size
        return replace(
            self,
            image=image,
            pose=move(self.pose),
            neighbours=move(self.neighbours),
            keypoints=move(self.keypoints),
            ignored=tuple(move(polygon) for polygon in self.ignored),
            box=self.box + np.tile(move(centre) - centre, 2),
            estimates=estimates,
        )

    def in_skeleton(self, own: Skeleton, other: Skeleton) -> "AnnotatedPerson":
        """Returns a person of the skeleton `own` with the keypoints of another, matched by name."""
        pose, keypoints = own.convert(np.stack([self.pose, self.keypoints]), other)
        labelled = own.convert(self.labelled[None].astype(np.float64), other, float(self.is_complete))[0] > 0
        neighbours = own.convert(self.neighbours, other)
        estimates = None if self.estimates is None else own.convert(self.estimates, other)
        known = {"neighbours": neighbours, "labelled": labelled, "estimates": estimates}
        return replace(self, pose=pose, keypoints=keypoints, **known)


class Latest(Generic[Value]):
    """Keeps the latest value of a function of an index; a copy in another process starts without one."""

    def __init__(self, function: Callable[[int], Value]) -> None:
        self._function = function
        self._index: int | None = None

    def __call__(self, index: int) -> Value:
        if index != self._index:
            self._value = self._function(index)
            self._index = index
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Latest, (self._function,)


class PeopleDataset(ABC):
    """Annotated people by index, without end. A finite dataset also has a length: its number of people.

    Attributes:
        skeleton: Skeleton of the poses.
    """

    skeleton: Skeleton

    @abstractmethod
    def person(self, index: int) -> AnnotatedPerson:
        """Returns a person as a pure function of the index, so that a run can continue anywhere.

        Raises:
            UserError: The image is absent, cannot be decoded, or lies outside its folder.
        """


class AnnotatedPeople(PeopleDataset):
    """People from annotation files; each person comes once in an epoch.

    Images come in random order, with up to four people of one image in a row, so that it is decoded once for them.
    Everyone with a keypoint is an example. Crowds and people without keypoints are regions without a loss.

    A keypoint without an annotated position is unlabelled, except in PoseTrack: there a detection of an unannotated
    keypoint is scored as a false positive (docs/notes/scores.md), so it counts as not there.
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
        estimates: Sequence[str | Path] = (),
    ) -> None:
        """Reads the annotations.

        Args:
            file_format: Format of the annotation files.
            annotations: A folder of .json files or one file; or several, see `first_present`.
            images: Source of the images.
            seed: Seed of the order.
            unlabelled: How keypoints without an annotation are treated; "absent" also drops ignore regions.
            validation_file: The dataset's validation annotations; where this file does not exist, a tenth of the
                images is held out for validation.
            estimates: Files of real estimates of the annotated people; see `read_estimates`.

        Raises:
            UserError: There are no annotations, one is broken, or none has a keypoint.
        """
        location = first_present(annotations)
        sequences = read_sequences(file_format, location)
        frames = posed_frames(sequences, location, True, validation_file)
        self._frames = [frame.select(frame.is_posed) for frame in frames]
        self._counts = np.array([len(frame) for frame in self._frames])
        self.skeleton = self._frames[0].skeleton
        self._estimates = read_estimates(estimates, self.skeleton)
        if estimates and (len(sequences) > 1 or not isinstance(sequences[0].original, Original)):
            raise UserError(f"{location}: expected one file of COCO annotations beside estimates")
        self._records = sequences[0].original.records if estimates else None

        # PoseTrack's people have 15 annotated keypoints; the two more names of its 2018 files hold no annotations.
        names = POSETRACK15.names if file_format.metric == "posetrack" else ()
        self._always_labelled = np.array([name in names for name in self.skeleton.names])
        self._is_complete = unlabelled == "absent"
        self._images, self._seed = images, seed
        self._order, self._image = Latest(self._shuffled), Latest(self._open)

    def __len__(self) -> int:
        """Returns the number of people: the length of an epoch."""
        return int(self._counts.sum())

    def person(self, index: int) -> AnnotatedPerson:
        epoch, position = divmod(index, len(self))
        frame_index, person_index = self._order(epoch)[position].tolist()
        frame = self._frames[frame_index]
        poses, estimates = frame.poses, None
        if self._records is not None:
            estimates = self._estimates.get(self._records[frame.records[person_index]]["id"])
        return AnnotatedPerson(
            self._image(frame_index),
            pose=poses[person_index],
            neighbours=np.delete(poses, person_index, axis=0),
            keypoints=poses[person_index],
            labelled=~np.isnan(poses[person_index, :, 0]) | self._always_labelled | self._is_complete,
            ignored=() if self._is_complete else frame.ignore_regions,
            is_complete=self._is_complete,
            box=frame.boxes[person_index],
            estimates=estimates,
        )

    def _open(self, frame_index: int) -> LazyImage:
        return LazyImage.from_frame(self._images, self._frames[frame_index])

    def _shuffled(self, epoch: int) -> IntArray:
        """Returns the order of an epoch: (people, 2) with each person's frame index and index in the frame."""
        random = generator(Purpose.TRAINING_ORDER, self._seed, epoch)
        frames = np.repeat(np.arange(len(self._counts)), self._counts)
        people = np.arange(len(frames)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)

        # A frame's people are shuffled and grouped by four; the groups of all frames are shuffled.
        mixed = np.lexsort((random.random(len(frames)), frames))
        group_ids = frames * (self._counts.max() // PEOPLE_PER_IMAGE + 1) + people // PEOPLE_PER_IMAGE
        _, groups = np.unique(group_ids, return_inverse=True)
        order = np.argsort(random.permutation(groups.max() + 1)[groups], kind="stable")
        return np.column_stack([frames, people[mixed]])[order]


class Mixture(PeopleDataset):
    """People of several datasets, in a skeleton of all their keypoints.

    A visit is four people in a row, usually of one image. The visits of a round are shared out among the datasets by
    weight and then shuffled. Each dataset gives its people in its own order, so that all of them come before one comes
    again.
    """

    @checked
    def __init__(
        self,
        parts: Mapping[str, Callable[..., PeopleDataset]],
        weights: Annotated[Mapping[str, NonNegative], Field(min_length=1)],
        seed: int,
    ) -> None:
        """Opens the datasets that have a weight.

        Args:
            parts: Constructors of the datasets by name; each takes a `seed`.
            weights: Weights of the datasets by name; datasets without a weight above 0 are not opened.
            seed: Seed of the order.

        Raises:
            UserError: A weight names no dataset, none is above 0, or a dataset cannot be read.
        """
        if unknown := weights.keys() - parts.keys():
            raise UserError(f"dataset.parts.{min(unknown)}: expected one of {', '.join(parts)}")
        names = [name for name, weight in weights.items() if weight > 0]
        if not names:
            raise UserError("dataset.parts: expected a weight above 0, found none; set dataset.parts.NAME=1")

        self._parts: list[PeopleDataset] = [parts[name](seed=seed) for name in names]
        self.skeleton = reduce(Skeleton.joined, (part.skeleton for part in self._parts))
        self._seed = seed

        # Each dataset has at least one visit in a round.
        shares = np.array([weights[name] for name in names])  # (parts,)
        ends = np.round(np.cumsum(shares / shares.sum()) * _ROUND)
        self._visits = np.maximum(np.diff(ends, prepend=0.0), 1).astype(np.int64)  # (parts,)
        self._visits[self._visits.argmax()] += _ROUND - self._visits.sum()
        self._order = Latest(self._shuffled)

    def __len__(self) -> int:
        """Returns the number of people of all datasets: the length of an epoch, whatever the weights."""
        return sum(len(part) for part in self._parts if isinstance(part, Sized))

    def person(self, index: int) -> AnnotatedPerson:
        visit, offset = divmod(index, PEOPLE_PER_IMAGE)
        round_index, slot = divmod(visit, _ROUND)
        part_index, own_visit = self._order(round_index)[slot].tolist()
        part: PeopleDataset = self._parts[part_index]
        person = part.person(own_visit * PEOPLE_PER_IMAGE + offset)
        return person.in_skeleton(part.skeleton, self.skeleton)

    def _shuffled(self, round_index: int) -> IntArray:
        """Returns a round's order: (visits, 2) with the index of the dataset and the number of its visits before."""
        parts = np.repeat(np.arange(len(self._visits)), self._visits)
        order = generator(Purpose.TRAINING_MIXTURE, self._seed, round_index).permutation(parts)

        # A dataset's visits stay in their order.
        own_visits = np.empty(_ROUND, np.int64)
        own_visits[np.argsort(order, kind="stable")] = np.concatenate([np.arange(count) for count in self._visits])
        return np.column_stack([order, round_index * self._visits[order] + own_visits])


def first_present(annotations: Annotations) -> Path:
    """Returns a single location as it is, and of several locations the first that exists.

    Raises:
        UserError: None of several locations exists.
    """
    if isinstance(annotations, str | Path):
        return Path(annotations)
    for path in annotations:
        if Path(path).exists():
            return Path(path)
    expected = " or ".join(str(path) for path in annotations) or "a file of annotations"
    raise UserError(f"expected {expected}, found none; set root to the data set's folder as it was downloaded")


def is_for_training(image: str) -> bool:
    """Returns whether an image is among the nine in ten for training, by the checksum of its name."""
    return zlib.crc32(image.encode(errors="surrogatepass")) % _IMAGES_PER_HELD_OUT != 0


def read_sequences(file_format: Format, annotations: Path) -> list[PoseSequence]:
    """Reads all annotated sequences of a folder or file.

    Raises:
        UserError: There are no files, or one is broken.
    """
    return [own for path in file_format.sources(annotations) for own in file_format.read_annotated(path)]


def read_estimates(paths: Sequence[str | Path], skeleton: Skeleton) -> dict[int, FloatArray]:
    """Reads real estimates: COCO results with the id of the annotation that each belongs to, as `ann_id`.

    Args:
        paths: The files.
        skeleton: The keypoints of the annotations, which the results have as well.

    Returns:
        (E, K, 3) x, y and score for each annotation's id; NaN where a result has no such keypoint.

    Raises:
        UserError: A file is absent or broken.
    """
    found: dict[int, list[FloatArray]] = {}
    for path in map(Path, paths):
        try:
            for result in read_json(path):
                triples = np.array(result["keypoints"], float).reshape(len(skeleton), 3)
                triples[~triples.any(axis=1)] = np.nan
                found.setdefault(result["ann_id"], []).append(triples)
        except (TypeError, KeyError, ValueError):
            expected = f"expected COCO results of {len(skeleton)} keypoints with an ann_id each"
            raise UserError(f"{path}: {expected}") from None
    return {ann_id: np.stack(own) for ann_id, own in found.items()}


def posed_frames(
    sequences: Sequence[PoseSequence], annotations: Path, training: bool, validation_file: str | Path | None = None
) -> list[Frame]:
    """Returns the annotated frames in which somebody has a keypoint.

    Args:
        sequences: Annotated sequences.
        annotations: The folder or file that they were read from, for messages.
        training: Whether the frames are for training rather than validation.
        validation_file: The dataset's validation annotations. Where this file does not exist, a tenth of the images is
            for validation only, and the others for training only. Otherwise all serve both.

    Raises:
        UserError: There is no such frame.
    """
    posed = [frame for sequence in sequences for frame in sequence.frames if frame.is_posed.any()]
    if validation_file is not None and not Path(validation_file).exists():
        posed = [frame for frame in posed if is_for_training(frame.image) == training]
    if not posed:
        use = "" if training else " to validate on"
        raise UserError(f"{annotations}: expected people with keypoints{use}, found none")
    return posed
