"""Poses as files of any format hold them: sequences of frames, with arrays over the people of a frame."""

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
"""Refining treats a keypoint with a coordinate at or below this as missing (docs/published.md, section 4)."""

NO_RECORD = -1
"""Index of the record of a person who is not in the file."""

HEAD_SIZE_PER_DIAGONAL = 0.6
"""PoseTrack and MPII measure distances in head sizes: this share of the head box's diagonal."""

PICTURE_ENDINGS = frozenset(
    (
        *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)


class FrameKey(NamedTuple):
    """Identifies a frame among several sequences by indices."""

    sequence: int
    frame: int


def image_stem(name: str) -> str:
    """Returns an image's file name without its folder and without the ending of a picture.

    >>> image_stem("clip/cam1.0001.JPG"), image_stem("cam1.0001")
    ('cam1.0001', 'cam1.0001')
    """
    path = PurePath(name.replace("\\", "/"))  # files may come from Windows
    return path.stem if path.suffix.lower() in PICTURE_ENDINGS else path.name


def match_frames(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """Matches frames of two lists by their images' names. All matching by name in hpr is done here.

    Args:
        names: Names of images.
        others: Names of images to match them with.

    Returns:
        For each name the index of the same name in `others`; else of the only one with the same `image_stem`; else
        None. Where `others` contains a name twice, the first counts.
    """
    by_name: dict[str, int] = {}
    by_stem: dict[str, int | None] = {}
    for index, name in enumerate(others):
        if name not in by_name:
            by_name[name] = index
            stem = image_stem(name)
            by_stem[stem] = None if stem in by_stem else index  # two images with that stem: ambiguous

    return [by_name.get(name, by_stem.get(image_stem(name))) for name in names]


def head_sizes(head_boxes: FloatArray) -> FloatArray:
    """Returns (N,) head sizes in pixels of head boxes (N, 4) x0, y0, x1, y1; NaN where there is no box."""
    with np.errstate(over="ignore"):  # absurd numbers in files
        diagonals = head_boxes[:, 2:] - head_boxes[:, :2]  # (N, 2)
        return np.asarray(HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(diagonals, axis=1))


@dataclass(frozen=True)
class Frame:
    """One image and the N people that a file lists for it, unchanged.

    Arrays that are not given get defaults: no scores, boxes and track ids, and flag 1 for every keypoint that is there.

    Attributes:
        image: Name of the image, relative to the folder of images.
        skeleton: The K keypoints.
        keypoints: (N, K, 2) x and y in image pixels; NaN where the file has no such keypoint, infinite where its
            coordinates are no numbers.
        scores: (N, K) scores of the keypoints; NaN where the file has none. A missing keypoint can have a score.
        flags: (N, K) visibility of the keypoints in the format's own terms; 0 where there is none.
        boxes: (N, 4) x0, y0, x1, y1 of the people; NaN where the file has none.
        head_boxes: (N, 4) x0, y0, x1, y1 of the people's heads; NaN where the file has none.
        track_ids: N identities throughout the sequence; None where the file has none.
        posed: (N,) whether the file has a list of keypoints for the person, even an empty one.
        records: (N,) index of the person's record in the file's list, for the writer; NO_RECORD for a new person.
        ignore_regions: Polygons (n, 2) in image pixels within which nothing is scored.
        confidences: (N, K) the refiner's probability of each keypoint, also of dropped ones; NaN for a pose that was
            not refined. Formats do not write it.
        size: Width and height of the image; None where the file has none.
        person_scores: (N,) scores of whole people; NaN where the file has none.
        number: Index of the image in a video, from 0; None where it is no frame of one, or the file has none.
        folder: Name of the file or folder of poses, which may tell images of one name apart.
        upright: Whether the coordinates are of the image as its EXIF orientation turns it, where `size` does not tell.
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
    folder: str = ""
    upright: bool = False

    def __post_init__(self) -> None:
        """Sets the defaults of arrays that were not given and checks all shapes.

        Raises:
            ValueError: An array has another shape.
        """
        for name, shape in self._shapes().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, self._default(name, shape))
            if getattr(self, name).shape != shape:
                raise ValueError(f"{self.image}: expected {name} of shape {shape}, found {getattr(self, name).shape}")

        if self.track_ids is None:
            object.__setattr__(self, "track_ids", (None,) * len(self))
        if len(self.track_ids) != len(self):
            raise ValueError(f"{self.image}: expected {len(self)} track_ids, found {len(self.track_ids)}")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each array over people."""
        people, keypoints = len(self.keypoints), len(self.skeleton)
        return {
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
        """Returns a frame without people."""
        return cls(image, skeleton, np.empty((0, len(skeleton), 2)))

    def __len__(self) -> int:
        """Returns the number of people, N."""
        return len(self.keypoints)

    @property
    def present(self) -> BoolArray:
        """(N, K) keypoints that refining starts from: flagged, finite, and with coordinates above CUTOFF."""
        with np.errstate(invalid="ignore"):
            has_coordinates = (np.isfinite(self.keypoints) & (self.keypoints > CUTOFF)).all(axis=-1)
        return np.asarray(has_coordinates & (self.flags > 0))

    def without_uncertain(self, min_score: float) -> "Frame":
        """Returns the frame with keypoints of a lower score than `min_score` missing; those without a score stay."""
        is_uncertain = self.scores < min_score
        if not is_uncertain.any():
            return self
        return replace(self, keypoints=np.where(is_uncertain[..., None], np.nan, self.keypoints))

    @property
    def is_posed(self) -> BoolArray:
        """(N,) people with at least one keypoint that refining starts from."""
        return np.asarray(self.present.any(axis=1))

    @property
    def poses(self) -> FloatArray:
        """(N, K, 2) keypoints that refining starts from; NaN for all others."""
        return np.where(self.present[..., None], self.keypoints, np.nan)

    def in_skeleton(self, skeleton: Skeleton) -> "Frame":
        """Returns the frame in another skeleton, matched by name; keypoints that this one lacks are missing."""
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
        """Returns the frame with some of its people, by a mask (N,) of bool or by their indices."""
        indices = np.arange(len(self))[people]
        arrays = {name: getattr(self, name)[indices] for name in self._shapes()}
        return replace(self, track_ids=tuple(self.track_ids[index] for index in indices.tolist()), **arrays)


@dataclass(frozen=True)
class PoseSequence:
    """The frames of a clip, or of a set of single images.

    Attributes:
        name: Name of the clip.
        frames: The frames in the order of the file.
        original: What the format's reader keeps for its writer, which carries over what frames do not hold; None for
            a sequence that was not read from a file of the format in which it is written.
        warnings: Who in the file is in no frame, and why, where that is not as the format says.
    """

    name: str
    frames: list[Frame]
    original: Any = None
    warnings: tuple[str, ...] = ()

    @property
    def people(self) -> int:
        """Number of people in all frames."""
        return sum(len(frame) for frame in self.frames)


def match_people(before: Frame, after: Frame) -> IntArray:
    """Returns (N,) the index in a frame of each of the N people of the same frame after refining; -1 where unknown.

    People are matched by track id if all have different ones, else by index. Refining may have removed people without
    keypoints; if the numbers still differ, nothing is known.
    """
    if all(None not in ids and len(set(ids)) == len(ids) for ids in (before.track_ids, after.track_ids)):
        index_of = {track_id: index for index, track_id in enumerate(before.track_ids)}
        return np.array([index_of.get(track_id, -1) for track_id in after.track_ids], np.int64)

    for candidates in (np.arange(len(before)), np.flatnonzero(before.is_posed)):
        if len(candidates) == len(after):
            return candidates
    return np.full(len(after), -1, np.int64)
