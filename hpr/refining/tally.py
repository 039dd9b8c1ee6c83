"""Counts of what refining did."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hpr.inference.engine import FAILURES, Outcome
from hpr.poses import BoolArray

_BINS_PER_HEAD, _LAST_BIN = 100, 1000
"""How finely distances are counted, and what all that are larger count as."""


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
    """

    frames: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    dropped: int = 0
    added: int = 0
    bad_images: Counter[str] = field(default_factory=Counter)
    moved: Counter[int] = field(default_factory=Counter)

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
        self.moved[math.ceil(min(heads * _BINS_PER_HEAD, _LAST_BIN))] += 1

    @property
    def moved_far(self) -> int:
        """Refined poses that moved by more than half a head."""
        return sum(count for moved, count in self.moved.items() if 2 * moved > _BINS_PER_HEAD)

    def add(self, other: "Tally") -> None:
        """Adds the counts of other poses."""
        self.frames += other.frames
        self.outcomes += other.outcomes
        self.kept += other.kept
        self.dropped += other.dropped
        self.added += other.added
        self.bad_images.update(other.bad_images)
        self.moved += other.moved

    @classmethod
    def from_entry(cls, counts: dict[str, Any]) -> "Tally":
        """Returns the counts that `as_entry` wrote; of bad images, only that they were there."""
        outcomes = Counter({Outcome(reason): n for reason, n in counts["persons"]["reasons"].items()})
        outcomes[Outcome.REFINED] = counts["persons"]["refined"]
        joints = counts["joints"]
        bad_images = Counter(counts["bad_images"])
        moved = Counter({int(heads): n for heads, n in counts["moved"].items()})
        return cls(counts["frames"], outcomes, joints["kept"], joints["dropped"], joints["added"], bad_images, moved)

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
        return {**self.as_json(), "moved": dict(self.moved)}

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
                return moved / _BINS_PER_HEAD
        raise ValueError("no pose was refined")
