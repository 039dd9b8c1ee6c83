"""Refining whole files of predictions: read, refine frame by frame, write, and keep count."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpr.errors import UserError
from hpr.files import json_files, read_image
from hpr.formats import Format
from hpr.inference import Outcome, PoseRefiner
from hpr.poses import FloatArray, Frame, Sequence


@dataclass
class Tally:
    """Counts of what happened to a number of poses.

    Attributes:
        frames: Images seen.
        outcomes: Persons by what became of them.
        kept: Joints that were in the estimate and are in the result.
        dropped: Joints that were in the estimate and are not in the result.
        added: Joints that were not in the estimate and are in the result.
        bad_images: What is wrong with each image that could not be read.
    """

    frames: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    dropped: int = 0
    added: int = 0
    bad_images: list[str] = field(default_factory=list)

    @property
    def persons(self) -> int:
        """Everyone seen."""
        return self.outcomes.total()

    @property
    def passed_through(self) -> int:
        """Persons whose pose is as it was."""
        return self.persons - self.outcomes[Outcome.REFINED]

    def add_person(self, before: FloatArray, after: FloatArray, outcome: Outcome) -> None:
        """Counts one person with joints (15, 2) before and after."""
        had, has = ~np.isnan(before[:, 0]), ~np.isnan(after[:, 0])
        self.outcomes[outcome] += 1
        self.kept += int((had & has).sum())
        self.dropped += int((had & ~has).sum())
        self.added += int((~had & has).sum())

    def add(self, other: "Tally") -> None:
        """Adds the counts of other poses."""
        self.frames += other.frames
        self.outcomes += other.outcomes
        self.kept += other.kept
        self.dropped += other.dropped
        self.added += other.added
        self.bad_images += other.bad_images

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as they stand in report.json."""
        reasons = {outcome.value: n for outcome, n in self.outcomes.items() if outcome is not Outcome.REFINED}
        return {
            "frames": self.frames,
            "persons": {
                "seen": self.persons,
                "refined": self.outcomes[Outcome.REFINED],
                "passed_through": self.passed_through,
                "reasons": reasons,
            },
            "joints": {"kept": self.kept, "dropped": self.dropped, "added": self.added},
            "bad_images": self.bad_images,
        }


def refine_files(
    refiner: PoseRefiner,
    file_format: Format,
    predictions: Path,
    root: Path,
    output: Path,
    threshold: float,
) -> dict[str, Tally]:
    """Refines every pose of a folder of prediction files and writes files of the same names.

    All files are read once before the first is refined, so that a broken one stops the run while
    nothing has been written. An image that cannot be read leaves its poses as they were.

    Args:
        refiner: The engine.
        file_format: Reads and writes the files.
        predictions: A folder of .json files, or one such file.
        root: The folder that the images' names start from.
        output: The folder to write to.
        threshold: Joints are kept if their confidence is above this.

    Returns:
        What happened in each sequence, by name.

    Raises:
        UserError: Something is wrong with an argument or a file; nothing has been written.
    """
    paths = json_files(predictions, "dataset.predictions")
    if output.resolve() == paths[0].parent.resolve():
        raise UserError(f"{output}: these are the predictions to be refined; set another output_dir")
    if not 0 <= threshold < 1:
        raise UserError(f"objective.threshold={threshold}: expected a probability from 0 to below 1")
    persons = _survey(file_format, paths, root)
    tallies = {}
    width = max(len("sequence"), *(len(path.stem) for path in paths))
    _print_row(width, ("sequence", "frames", "persons", "refined", "as were", "kept", "dropped", "added"))
    with tqdm(total=persons, unit=" persons", disable=None, leave=False) as bar:
        for path in paths:
            sequence, tally = refine_sequence(refiner, file_format.read(path), root, threshold, bar.update)
            file_format.write(sequence, output / path.name)
            tallies[sequence.name] = tally
            _print_tally(width, sequence.name, tally)
    return tallies


def refine_sequence(
    refiner: PoseRefiner,
    sequence: Sequence,
    root: Path,
    threshold: float,
    progress: Callable[[int], Any] = lambda persons: None,
) -> tuple[Sequence, Tally]:
    """Refines every pose of a sequence.

    Args:
        refiner: The engine.
        sequence: What to refine.
        root: The folder that the images' names start from.
        threshold: Joints are kept if their confidence is above this.
        progress: Called with the number of persons done after each frame.

    Returns:
        The sequence with the refined poses, and what happened.
    """
    tally = Tally()
    frames = []
    for frame in sequence.frames:
        frames.append(_refine_frame(refiner, frame, root, threshold, tally))
        progress(len(frame.persons))
    return replace(sequence, frames=frames), tally


def _refine_frame(refiner: PoseRefiner, frame: Frame, root: Path, threshold: float, tally: Tally) -> Frame:
    tally.frames += 1
    if not frame.persons:
        return frame
    joints = np.stack([person.joints for person in frame.persons])  # (N, 15, 2)
    try:
        image = read_image(root / frame.image)
    except UserError as error:
        tqdm.write(f"warning: {error}; its {len(joints)} poses stay as they were")
        tally.bad_images.append(str(error))
        for person in frame.persons:
            tally.add_person(person.joints, person.joints, Outcome.BAD_IMAGE)
        return frame
    refined = refiner(image, joints, threshold)
    persons = []
    for i, (person, outcome) in enumerate(zip(frame.persons, refined.outcomes, strict=True)):
        tally.add_person(person.joints, refined.joints[i], outcome)
        confidence = refined.confidence[i] if outcome is Outcome.REFINED else None
        persons.append(replace(person, joints=refined.joints[i], confidence=confidence))
    return replace(frame, persons=persons)


def _survey(file_format: Format, paths: list[Path], root: Path) -> int:
    """Reads every file and returns the number of persons; refuses a root under which no image is found."""
    persons = 0
    missing: list[Path] = []
    found = 0
    for path in tqdm(paths, desc="checking the files", unit=" files", disable=None, leave=False):
        sequence = file_format.read(path)
        persons += sum(1 for _ in sequence.persons())
        for frame in sequence.frames:
            if (root / frame.image).is_file():
                found += 1
            else:
                missing.append(root / frame.image)
    if missing and not found:
        raise UserError(f"dataset.root={root}: expected {missing[0]} and {len(missing) - 1} more images, found none")
    return persons


def _print_tally(width: int, name: str, tally: Tally) -> None:
    refined = tally.outcomes[Outcome.REFINED]
    counts = (tally.frames, tally.persons, refined, tally.passed_through, tally.kept, tally.dropped, tally.added)
    _print_row(width, (name, *counts))


def _print_row(width: int, cells: tuple[Any, ...]) -> None:
    tqdm.write(f"{cells[0]:<{width}}" + "".join(f"{cell:>9}" for cell in cells[1:]))
