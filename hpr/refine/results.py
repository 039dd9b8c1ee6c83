"""What becomes of poses: refined, or unchanged for a reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import hpr
from hpr.files import write_json
from hpr.formats import coco
from hpr.formats.arrays import Arrays
from hpr.formats.fields import id_number
from hpr.poses import BoolArray, FloatArray, Frame, FrameKey, PoseSequence, image_stem
from hpr.skeleton import Skeleton

if TYPE_CHECKING:
    from hpr.images import Image
    from hpr.refine.inputs import AnyImage


class Outcome(Enum):
    """What became of a pose; the values appear in report.json."""

    REFINED = "refined"
    NO_KEYPOINTS = "no keypoint to start from"
    CROP_SIZE = "crop above 3,000,000 pixels, or empty"
    OUTSIDE = "no keypoint in or near the image"
    TINY_IMAGE = "image under 8 pixels in width or height"
    BAD_IMAGE = "image missing or unreadable"
    MEMORY = "crop too large for the device's memory"
    NOT_FINITE = "network output not finite"


FAILURES = frozenset({Outcome.BAD_IMAGE, Outcome.MEMORY, Outcome.NOT_FINITE})
"""Outcomes of poses that should have been refined but were not."""


_NO_KEYPOINTS, _NO_CONFIDENCE = np.empty((0, 2)), np.empty(0)  # shared, so that equal outcomes compare as equal


class PersonKey(NamedTuple):
    """Which person of which frame is meant, by their indices."""

    frame: FrameKey
    person: int


@dataclass(frozen=True)
class RefinedPose:
    """What became of one person's pose.

    Attributes:
        key: Which person.
        outcome: Whether the pose was refined, and why not.
        detail: More about the outcome, such as what is wrong with the image; may be empty.
        keypoints: (K, 2) as the network proposes them, in image pixels; empty unless refined.
        confidence: (K,) the network's probability of each keypoint; empty unless refined.
        moved: Mean distance of the proposed keypoints from those of the input, in head sizes; NaN unless refined.
    """

    key: PersonKey
    outcome: Outcome
    detail: str = ""
    keypoints: FloatArray = field(default_factory=lambda: _NO_KEYPOINTS)
    confidence: FloatArray = field(default_factory=lambda: _NO_CONFIDENCE)
    moved: float = float("nan")


@dataclass(frozen=True, repr=False)
class RefinedPoses:
    """What became of the poses of N people in one image.

    Attributes:
        keypoints: (N, K, 2) in image pixels. NaN for keypoints that are missing, or left out for their low confidence.
        confidence: (N, K) the network's probability of each keypoint, also of those left out; NaN for people who were
            not refined.
        outcomes: N, whether each pose was refined, and why not.
        moved: (N,) mean distance of the proposed keypoints from those of the input, in head sizes; NaN for people who
            were not refined.
        details: N texts, more about each outcome; may be empty.
        frame: The people as files of poses have them. Only what `PoseRefiner` returns has it, not what a network
            proposes; `scores`, `skeleton`, `plot` and the like need it.
    """

    keypoints: FloatArray
    confidence: FloatArray
    outcomes: list[Outcome]
    moved: FloatArray
    details: list[str]
    frame: Frame = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """Returns the number of people, N."""
        return len(self.outcomes)

    def __repr__(self) -> str:
        """Returns how many people there are and what became of them."""
        people, keypoints = self.confidence.shape
        counts = Counter(outcome.value for outcome in self.outcomes)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return f"RefinedPoses({people} x {keypoints} keypoints{f': {outcomes}' if outcomes else ''})"

    @property
    def is_refined(self) -> BoolArray:
        """(N,) whether each pose was refined."""
        return np.array([outcome is Outcome.REFINED for outcome in self.outcomes], bool)

    @property
    def scores(self) -> FloatArray:
        """(N, K) scores of the keypoints as the objective has them; NaN where there is none."""
        return self.frame.scores

    @property
    def person_scores(self) -> FloatArray:
        """(N,) scores of the people as the objective has them; NaN where there is none."""
        return self.frame.person_scores

    @property
    def skeleton(self) -> Skeleton:
        """The K keypoints."""
        return self.frame.skeleton

    def plot(self, image: "AnyImage") -> "Image":
        """Returns a copy (H, W, 3) RGB of the image with the refined poses drawn on it.

        Raises:
            UserError: There is no image at a path.
            ValueError: It is no image.
        """
        from hpr.refine.inputs import as_image

        return hpr.draw_poses(as_image(image), self.keypoints, self.skeleton)

    def save(self, path: str | Path) -> None:
        """Writes the refined poses to a file, which `hpr` reads again.

        Args:
            path: Ends with .npz for arrays, which name their keypoints; or with .json for a list of COCO results, whose
                `image_id` is the number that the image's name is, else its name. An image that was not given by a path
                has the name of the file.

        Raises:
            UserError: The file cannot be written.
            ValueError: The path has another ending.
        """
        path = Path(path)
        image = self.frame.image or path.stem
        if path.suffix == ".npz":
            Arrays().write([PoseSequence(path.stem, [replace(self.frame, image=image)])], path)
        elif path.suffix == ".json":
            number = id_number(image_stem(image))
            image_id = image if number is None else number
            write_json(path, coco.results([self.frame], [image_id], coco.Layout(self.skeleton)))
        else:
            raise ValueError(f"{path}: expected a name that ends with .json or .npz")

    @classmethod
    def stack(cls, results: Sequence[RefinedPose], skeleton: Skeleton) -> "RefinedPoses":
        """Puts the results of N people together: all that the network proposes, NaN for people who were not refined."""
        keypoints = np.full((len(results), len(skeleton), 2), np.nan)
        confidence = np.full((len(results), len(skeleton)), np.nan)
        for person, result in enumerate(results):
            if result.outcome is Outcome.REFINED:
                keypoints[person], confidence[person] = result.keypoints, result.confidence

        return cls(
            keypoints,
            confidence,
            [result.outcome for result in results],
            np.array([result.moved for result in results]),
            [result.detail for result in results],
        )
