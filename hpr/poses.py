"""Poses as a file holds them, whatever its format: sequences of frames, with arrays over a frame's people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpr.skeleton import Skeleton

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

TrackId = int | str | None

CUTOFF = -500.0
"""A keypoint with a coordinate at or below this counts as missing for refining (docs/published.md, section 4)."""

NO_RECORD = -1

HEAD_SIZE_PER_DIAGONAL = 0.6
"""PoseTrack and MPII measure distances in head sizes: this share of the head box's diagonal."""

PICTURE_ENDINGS = frozenset(
    (
        *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)


class FrameKey(NamedTuple):
    """Which frame of some sequences is meant, by its indices."""

    sequence: int
    frame: int


def image_stem(name: str) -> str:
    """Returns an image's file name without its folder and without the ending of a picture.

    >>> image_stem("clip/cam1.0001.JPG"), image_stem("cam1.0001")
    ('cam1.0001', 'cam1.0001')
    """
    path = PurePath(name)
    return path.stem if path.suffix.lower() in PICTURE_ENDINGS else path.name


def match_frames(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """Finds frames of the same image in two lists. The only place that says which frame is which by name.

    Args:
        names: Names of images.
        others: Names of images to find them among.

    Returns:
        For each name the index of the same name in `others`; else of the only one with the same `image_stem`; else
        None. Where `others` holds a name twice, the first counts.
    """
    by_name: dict[str, int] = {}
    by_stem: dict[str, int | None] = {}
    for index, name in enumerate(others):
        if name not in by_name:
            by_name[name] = index
            stem = image_stem(name)
            by_stem[stem] = None if stem in by_stem else index  # two images of that stem: neither is meant
    return [by_name.get(name, by_stem.get(image_stem(name))) for name in names]


def head_sizes(head_boxes: FloatArray) -> FloatArray:
    """Returns (N,) head sizes in pixels of head boxes (N, 4) x0, y0, x1, y1; NaN where there is no box."""
    diagonals = head_boxes[:, 2:] - head_boxes[:, :2]  # (N, 2)
    return np.asarray(HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(diagonals, axis=1))


@dataclass(frozen=True)
class Frame:
    """One image and the N people that a file lists for it, as the file says it.

    Each user decides whether a keypoint counts: `present` is the refiner's rule. Arrays that are not given are
    made: without scores, boxes and track ids, and with flag 1 for every keypoint that is there.

    Attributes:
        image: Name of the image, relative to the folder of images.
        skeleton: Of the K keypoints.
        keypoints: (N, K, 2) x and y in image pixels; NaN where the file has no such keypoint, infinite where it has
            one whose coordinates are no numbers.
        scores: (N, K) of the keypoints; NaN where the file holds none. A missing keypoint can have a score.
        flags: (N, K) visibility of the keypoints, as the format has it; 0 where there is none.
        boxes: (N, 4) x0, y0, x1, y1 of the people; NaN where the file holds none.
        head_boxes: (N, 4) of their heads, likewise.
        track_ids: N, who it is throughout the sequence; None where the file does not say.
        posed: (N,) whether the file has a list of keypoints for the person, be it an empty one.
        records: (N,) place of the person's record in the file's list, for the writer; NO_RECORD for a new person.
        ignore_regions: Polygons (n, 2) in image pixels within which nothing is scored.
        confidences: (N, K) the refiner's probability of each keypoint, also of those it dropped; NaN for a pose that
            was not refined. Formats do not write it.
        size: Width and height of the image; None where the file does not say.
        person_scores: (N,) of the people as a whole; NaN where the file holds none.
        number: Place of the image in a video, from 0; None where it is no frame of one, or the file does not say.
    """

    image: str
    skeleton: Skeleton
    keypoints: FloatArray
    scores: FloatArray = None  # type: ignore[assignment]
    flags: FloatArray = None  # type: ignore[assignment]
    boxes: FloatArray = None  # type: ignore[assignment]
    head_boxes: FloatArray = None  # type: ignore[assignment]
    track_ids: tuple[TrackId, ...] = None  # type: ignore[assignment]
    posed: BoolArray = None  # type: ignore[assignment]
    records: IntArray = None  # type: ignore[assignment]
    ignore_regions: tuple[FloatArray, ...] = ()
    confidences: FloatArray = None  # type: ignore[assignment]
    size: tuple[int, int] | None = None
    person_scores: FloatArray = None  # type: ignore[assignment]
    number: int | None = None

    def __post_init__(self) -> None:
        """Makes the arrays that were not given and checks the shapes of all.

        Raises:
            ValueError: An array is of another shape.
        """
        people, keypoints = len(self.keypoints), len(self.skeleton)
        expected = {
            "keypoints": (people, keypoints, 2),
            "scores": (people, keypoints),
            "flags": (people, keypoints),
            "boxes": (people, 4),
            "head_boxes": (people, 4),
            "confidences": (people, keypoints),
            "posed": (people,),
            "records": (people,),
            "person_scores": (people,),
        }
        for name, shape in expected.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, self._default(name, shape))
            if getattr(self, name).shape != shape:
                raise ValueError(f"{self.image}: expected {name} of shape {shape}, found {getattr(self, name).shape}")
        if self.track_ids is None:
            object.__setattr__(self, "track_ids", (None,) * people)
        if len(self.track_ids) != people:
            raise ValueError(f"{self.image}: expected {people} track_ids, found {len(self.track_ids)}")

    def _default(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if name == "flags":
            return (~np.isnan(self.keypoints[..., 0])).astype(np.float64)
        if name == "posed":
            return np.ones(shape, bool)
        if name == "records":
            return np.full(shape, NO_RECORD, np.int64)
        return np.full(shape, np.nan)

    @classmethod
    def empty(cls, image: str, skeleton: Skeleton) -> "Frame":
        """Returns an image without people."""
        return cls(image, skeleton, np.empty((0, len(skeleton), 2)))

    def __len__(self) -> int:
        """Returns the number of people, N."""
        return len(self.keypoints)

    @property
    def present(self) -> BoolArray:
        """(N, K) the keypoints that the refiner starts from: flagged, and with coordinates above the cutoff."""
        with np.errstate(invalid="ignore"):
            placed = np.isfinite(self.keypoints).all(axis=-1) & (self.keypoints > CUTOFF).all(axis=-1)
        return np.asarray(placed & (self.flags > 0))

    @property
    def is_posed(self) -> BoolArray:
        """(N,) who has a keypoint that the refiner can start from."""
        return np.asarray(self.present.any(axis=1))

    @property
    def poses(self) -> FloatArray:
        """(N, K, 2) the keypoints that the refiner starts from; NaN for all others."""
        return np.where(self.present[..., None], self.keypoints, np.nan)

    def in_skeleton(self, skeleton: Skeleton) -> "Frame":
        """Returns the frame with the keypoints of another skeleton, by their names; what is not here is missing."""
        if skeleton == self.skeleton:
            return self
        convert = self.skeleton.convert
        return replace(
            self,
            skeleton=skeleton,
            keypoints=convert(self.keypoints, skeleton),
            scores=convert(self.scores, skeleton),
            flags=convert(self.flags, skeleton, 0.0),
            confidences=convert(self.confidences, skeleton),
        )

    def select(self, people: NDArray[Any]) -> "Frame":
        """Returns the frame with some of its people, by a mask (N,) of bool or by their places."""
        places = np.arange(len(self))[people]
        return Frame(
            self.image,
            self.skeleton,
            self.keypoints[places],
            self.scores[places],
            self.flags[places],
            self.boxes[places],
            self.head_boxes[places],
            tuple(self.track_ids[place] for place in places),
            self.posed[places],
            self.records[places],
            self.ignore_regions,
            self.confidences[places],
            self.size,
            self.person_scores[places],
            self.number,
        )


@dataclass(frozen=True)
class PoseSequence:
    """The frames of a clip, or of a set of single images.

    Attributes:
        name: Of the clip.
        frames: In the order of the file.
        original: What the format's reader keeps for its writer, which carries over what frames do not hold; None for
            a sequence that was not read from a file of the format that it is written in.
    """

    name: str
    frames: list[Frame]
    original: Any = None

    @property
    def people(self) -> int:
        """Number of people in all frames."""
        return sum(len(frame) for frame in self.frames)
