"""Counts of what refining did."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hpr.poses import Frame
from hpr.refine.results import FAILURES, Outcome, RefinedPoses
from hpr.skeleton import Skeleton

BINS_PER_HEAD, LAST_BIN = 100, 1000
"""Bins for distances: per head size, and the last one, which takes all larger distances."""

CONFIDENCE_BINS = 20
"""Bins of equal width from 0 to 1."""

EXAMPLES = 5
"""How many example frames are kept for each outcome but REFINED."""


class ExampleFrame(NamedTuple):
    """A frame of a sequence: its index there, and the name of its image."""

    frame: int
    image: str


@dataclass
class Tally:
    """Counts of what happened to the poses of a sequence, or of several.

    Attributes:
        frames: Number of frames.
        outcomes: Number of people by outcome.
        kept: Keypoints that are in the input and in the result.
        dropped: Keypoints that are in the input only.
        added: Keypoints that are in the result only.
        ignored: Keypoints of the input that were missing for the network because of their low score; of these, only
            the added ones count elsewhere.
        bad_images: Number of poses by what is wrong with their image.
        moved: Number of refined poses by how far they moved, in hundredths of a head size, rounded up.
        confidences: Number of keypoints of refined poses by the network's confidence, in bins, rounded down; without
            those that the file has no room for.
        examples: The first frames with each outcome but REFINED.
    """

    frames: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    dropped: int = 0
    added: int = 0
    ignored: int = 0
    bad_images: Counter[str] = field(default_factory=Counter)
    moved: Counter[int] = field(default_factory=Counter)
    confidences: Counter[int] = field(default_factory=Counter)
    examples: dict[Outcome, list[ExampleFrame]] = field(default_factory=dict)

    @property
    def people(self) -> int:
        """Number of people."""
        return self.outcomes.total()

    @property
    def refined(self) -> int:
        """Number of people who were refined."""
        return self.outcomes[Outcome.REFINED]

    @property
    def failed(self) -> int:
        """Number of people who should have been refined but were not."""
        return sum(self.outcomes[outcome] for outcome in FAILURES)

    @property
    def passed_through(self) -> int:
        """Number of people whose pose is unchanged."""
        return self.people - self.refined

    @property
    def moved_far(self) -> int:
        """Number of refined poses that moved by more than half a head size."""
        return sum(count for moved, count in self.moved.items() if 2 * moved > BINS_PER_HEAD)

    def count(
        self, before: Frame, refined: RefinedPoses, after: Frame, skeleton: Skeleton, min_score: float = 0.0
    ) -> None:
        """Counts a frame, which follows those counted so far; only keypoints known to it and to the network count.

        Args:
            before: The frame as it was read.
            refined: All that the network proposes for its N people.
            after: The frame with refined poses, from `apply_refined`.
            skeleton: The network's.
            min_score: Keypoints of a lower score were missing for the network.
        """
        example = ExampleFrame(self.frames, before.image)
        is_refined = refined.is_refined
        self.frames += 1
        self.outcomes.update(refined.outcomes)
        self.bad_images.update(detail for detail in refined.details if detail)
        for outcome in dict.fromkeys(refined.outcomes):
            if outcome is not Outcome.REFINED and len(self.examples.setdefault(outcome, [])) < EXAMPLES:
                self.examples[outcome].append(example)

        is_known = skeleton.mapping_to(before.skeleton) >= 0
        was_there = before.without_uncertain(min_score).present
        is_found = (after.flags[:, : len(is_known)] > 0) & ~np.isnan(after.confidences[:, : len(is_known)])
        is_there = np.where(is_refined[:, None], is_found, was_there)
        self.ignored += int((before.present & ~was_there)[:, is_known].sum())
        was_there, is_there = was_there[:, is_known], is_there[:, is_known]
        self.kept += int((was_there & is_there).sum())
        self.dropped += int((was_there & ~is_there).sum())
        self.added += int((~was_there & is_there).sum())

        has_room = before.skeleton.mapping_to(skeleton) >= 0
        confidences = refined.confidence[is_refined][:, has_room]
        bins = np.clip(confidences * CONFIDENCE_BINS, 0, CONFIDENCE_BINS - 1).astype(int)
        self.confidences.update(bins.ravel().tolist())
        moved = refined.moved[is_refined].tolist()
        self.moved.update(math.ceil(min(heads * BINS_PER_HEAD, LAST_BIN)) for heads in moved)

    def add(self, other: "Tally") -> None:
        """Adds the counts of frames that follow those of this tally in their sequence."""
        for outcome, examples in other.examples.items():
            later = [example._replace(frame=example.frame + self.frames) for example in examples]
            self.examples[outcome] = [*self.examples.get(outcome, []), *later][:EXAMPLES]

        self.frames += other.frames
        self.outcomes += other.outcomes
        self.kept += other.kept
        self.dropped += other.dropped
        self.added += other.added
        self.ignored += other.ignored
        self.bad_images.update(other.bad_images)
        self.moved += other.moved
        self.confidences += other.confidences

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as they appear in report.json; distances are in head sizes, null without a pose."""
        num_moved = self.moved.total()
        return {
            "frames": self.frames,
            "persons": {
                "seen": self.people,
                "refined": self.refined,
                "passed_through": self.passed_through,
                "reasons": {outcome.value: n for outcome, n in self.outcomes.items() if outcome is not Outcome.REFINED},
            },
            "joints": {"kept": self.kept, "dropped": self.dropped, "added": self.added, "ignored": self.ignored},
            "bad_images": list(self.bad_images),
            "movement": {
                "median": self._moved_quantile(0.5),
                "p95": self._moved_quantile(0.95),
                "above_half_a_head": self.moved_far / num_moved if num_moved else None,
                "poses": num_moved,
            },
        }

    def as_entry(self) -> dict[str, Any]:
        """Returns the counts as the journal keeps them, complete for `from_entry`."""
        return {
            **self.as_json(),
            "moved": dict(self.moved),
            "confidences": dict(self.confidences),
            "examples": {outcome.value: examples for outcome, examples in self.examples.items()},
        }

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> "Tally":
        """Returns the counts of `as_entry`; numbers of poses with bad images become 1."""
        outcomes = Counter({Outcome(reason): n for reason, n in entry["persons"]["reasons"].items()})
        outcomes[Outcome.REFINED] = entry["persons"]["refined"]
        return cls(
            entry["frames"],
            outcomes,
            **entry["joints"],
            bad_images=Counter(entry["bad_images"]),
            moved=Counter({int(index): n for index, n in entry["moved"].items()}),
            confidences=Counter({int(index): n for index, n in entry["confidences"].items()}),
            examples={Outcome(reason): [ExampleFrame(*e) for e in own] for reason, own in entry["examples"].items()},
        )

    def _moved_quantile(self, share: float) -> float | None:
        """Returns the distance, in head sizes, that this share of the refined poses did not exceed; or None."""
        needed, num_seen = share * self.moved.total(), 0
        for moved in sorted(self.moved):
            num_seen += self.moved[moved]
            if num_seen >= needed:
                return moved / BINS_PER_HEAD
        return None
