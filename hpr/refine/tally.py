"""Counts of what refining did."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hpr.refine.engine import FAILURES, Outcome
from hpr.poses import BoolArray, FloatArray

BINS_PER_HEAD, LAST_BIN = 100, 1000
"""How finely distances are counted, and what all that are larger count as."""

CONFIDENCE_BINS = 20
"""Of equal width, from 0 to 1."""

MOVED_MOST, EXAMPLES = 12, 5
"""How many of the frames that changed most are kept, and how many examples for each reason to pass a pose through."""


class Place(NamedTuple):
    """A frame of a sequence.

    Attributes:
        frame: Its place in the sequence.
        image: Its name.
    """

    frame: int
    image: str


class MovedFrame(NamedTuple):
    """How much a frame changed.

    Attributes:
        heads: How far its refined poses moved on average, in head sizes; at most LAST_BIN / BINS_PER_HEAD.
        frame: Its place in the sequence.
        image: Its name.
    """

    heads: float
    frame: int
    image: str


@dataclass
class Tally:
    """Counts of what happened to a number of poses.

    Attributes:
        frames: Images seen.
        outcomes: People by what became of them.
        kept: Keypoints that were in the estimate and are in the result.
        dropped: Keypoints that were in the estimate and are not in the result.
        added: Keypoints that were not in the estimate and are in the result.
        bad_images: What is wrong with each image that could not be read, and how many poses it has.
        moved: Refined poses by how far they moved, in hundredths of a head, rounded up; the last bin takes the rest.
        confidences: The network's confidences in all keypoints of refined poses, by twentieths, rounded down.
        moved_most: The frames whose poses moved farthest, the farthest first.
        examples: Where the first poses were that were passed through, by the reason.
    """

    frames: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    dropped: int = 0
    added: int = 0
    bad_images: Counter[str] = field(default_factory=Counter)
    moved: Counter[int] = field(default_factory=Counter)
    confidences: Counter[int] = field(default_factory=Counter)
    moved_most: list[MovedFrame] = field(default_factory=list)
    examples: dict[Outcome, list[Place]] = field(default_factory=dict)

    @property
    def people(self) -> int:
        """Everyone seen."""
        return self.outcomes.total()

    @property
    def refined(self) -> int:
        """People whose pose was refined."""
        return self.outcomes[Outcome.REFINED]

    @property
    def failed(self) -> int:
        """People whose pose should have been refined and was not."""
        return sum(self.outcomes[outcome] for outcome in FAILURES)

    @property
    def passed_through(self) -> int:
        """People whose pose is as it was."""
        return self.people - self.refined

    def count_keypoints(self, before: BoolArray, after: BoolArray) -> None:
        """Counts the keypoints of N people, (N, K), that are there before and after."""
        self.kept += int((before & after).sum())
        self.dropped += int((before & ~after).sum())
        self.added += int((~before & after).sum())

    def count_movement(self, heads: float) -> None:
        """Counts a refined pose whose keypoints moved by so many head sizes on average."""
        self.moved[math.ceil(min(heads * BINS_PER_HEAD, LAST_BIN))] += 1

    def count_confidences(self, confidences: FloatArray) -> None:
        """Counts the network's confidences (K,) in the keypoints of a refined pose."""
        bins = np.clip(confidences * CONFIDENCE_BINS, 0, CONFIDENCE_BINS - 1).astype(int)
        self.confidences.update(bins.tolist())

    def note_frame(self, place: Place, outcomes: Sequence[Outcome], heads: Sequence[float]) -> None:
        """Keeps a frame in mind if it is among those that changed most, or an example of poses passed through.

        Args:
            place: Of the frame.
            outcomes: What became of its people.
            heads: How far its refined poses moved, in head sizes.
        """
        if heads:
            mean = min(sum(heads) / len(heads), LAST_BIN / BINS_PER_HEAD)
            self.moved_most = _farthest([*self.moved_most, MovedFrame(mean, *place)])
        for outcome in dict.fromkeys(outcomes):
            if outcome is not Outcome.REFINED and len(self.examples.setdefault(outcome, [])) < EXAMPLES:
                self.examples[outcome].append(place)

    @property
    def moved_far(self) -> int:
        """Refined poses that moved by more than half a head."""
        return sum(count for moved, count in self.moved.items() if 2 * moved > BINS_PER_HEAD)

    def add(self, other: "Tally") -> None:
        """Adds the counts of other poses, of frames that follow those of this tally in their sequence."""
        moved = [frame._replace(frame=frame.frame + self.frames) for frame in other.moved_most]
        self.moved_most = _farthest([*self.moved_most, *moved])
        for outcome, places in other.examples.items():
            later = [place._replace(frame=place.frame + self.frames) for place in places]
            self.examples[outcome] = [*self.examples.get(outcome, []), *later][:EXAMPLES]
        self.frames += other.frames
        self.outcomes += other.outcomes
        self.kept += other.kept
        self.dropped += other.dropped
        self.added += other.added
        self.bad_images.update(other.bad_images)
        self.moved += other.moved
        self.confidences += other.confidences

    @classmethod
    def from_entry(cls, counts: dict[str, Any]) -> "Tally":
        """Returns the counts that `as_entry` wrote; of bad images, only that they were there."""
        outcomes = Counter({Outcome(reason): n for reason, n in counts["persons"]["reasons"].items()})
        outcomes[Outcome.REFINED] = counts["persons"]["refined"]
        joints = counts["joints"]
        return cls(
            counts["frames"],
            outcomes,
            joints["kept"],
            joints["dropped"],
            joints["added"],
            Counter(counts["bad_images"]),
            Counter({int(heads): n for heads, n in counts["moved"].items()}),
            Counter({int(place): n for place, n in counts["confidences"].items()}),
            [MovedFrame(*frame) for frame in counts["moved_most"]],
            {Outcome(reason): [Place(*place) for place in places] for reason, places in counts["examples"].items()},
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as they stand in report.json."""
        reasons = {outcome.value: n for outcome, n in self.outcomes.items() if outcome is not Outcome.REFINED}
        return {
            "frames": self.frames,
            "persons": {
                "seen": self.people,
                "refined": self.refined,
                "passed_through": self.passed_through,
                "reasons": reasons,
            },
            "joints": {"kept": self.kept, "dropped": self.dropped, "added": self.added},
            "bad_images": list(self.bad_images),
            "movement": self._movement(),
        }

    def as_entry(self) -> dict[str, Any]:
        """Returns the counts as the journal keeps them, from which `from_entry` makes a tally again."""
        return {
            **self.as_json(),
            "moved": dict(self.moved),
            "confidences": dict(self.confidences),
            "moved_most": self.moved_most,
            "examples": {outcome.value: places for outcome, places in self.examples.items()},
        }

    def _movement(self) -> dict[str, Any]:
        """Returns how far refined poses moved, in head sizes; null where there are none."""
        poses = self.moved.total()
        return {
            "median": self._moved_at(0.5) if poses else None,
            "p95": self._moved_at(0.95) if poses else None,
            "above_half_a_head": self.moved_far / poses if poses else None,
            "poses": poses,
        }

    def _moved_at(self, share: float) -> float:
        """Returns the distance in head sizes that such a share of the refined poses, or just more, moved by at most."""
        needed, seen = share * self.moved.total(), 0
        for moved in sorted(self.moved):
            seen += self.moved[moved]
            if seen >= needed:
                return moved / BINS_PER_HEAD
        raise ValueError("no pose was refined")


def _farthest(frames: list[MovedFrame]) -> list[MovedFrame]:
    """Returns those that moved farthest; of equals, the first."""
    return sorted(frames, key=lambda frame: -frame.heads)[:MOVED_MOST]
