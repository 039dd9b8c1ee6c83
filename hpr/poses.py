"""What a file of poses holds, whatever its format: Sequence → Frame → Person."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One estimated pose.

    Attributes:
        joints: (15, 2), x and y in image pixels in the order of `skeleton.JOINTS`; NaN where missing.
        scores: (15,), the estimator's score of each joint; NaN where the file holds none. A missing
            joint can have a score.
        record: Place of the person's record in its list in the file.
        track_id: Who it is throughout the sequence; None where the file does not say.
        head_box: (4,), x0, y0, x1, y1 of the head in image pixels; None where the file holds none.
        confidence: (15,), the refiner's probability of each joint, also of those it dropped; None before
            refining and where a pose was not refined. It is not written to files.
    """

    joints: FloatArray
    scores: FloatArray
    record: int
    track_id: int | str | None = None
    head_box: FloatArray | None = None
    confidence: FloatArray | None = None

    @property
    def present(self) -> NDArray[np.bool_]:
        """(15,), which joints the pose has."""
        return ~np.isnan(self.joints[:, 0])


@dataclass(frozen=True)
class Frame:
    """One image and the people estimated in it.

    Attributes:
        image: Path of the image relative to the data set's root.
        persons: In the order of the file.
        ignore_regions: Polygons (n, 2) in image pixels within which nothing is scored.
        unposed: Number of people that the file lists without so much as an empty pose.
    """

    image: str
    persons: list[Person]
    ignore_regions: tuple[FloatArray, ...] = ()
    unposed: int = 0


@dataclass(frozen=True)
class Sequence:
    """The content of one file.

    Attributes:
        name: The file's name without its ending.
        frames: In the order of the file.
        document: The parsed file, from which a writer carries over what the poses do not cover.
    """

    name: str
    frames: list[Frame]
    document: dict[str, Any]

    def persons(self) -> Iterator[Person]:
        """Yields everyone in every frame."""
        for frame in self.frames:
            yield from frame.persons
