"""Wild files: those that the tool makes are wild enough to find what is wrong with a reader or a writer."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpr.errors import UserError
from hpr.formats import FORMATS, Format, PoseTrack18
from fuzz.files import FileTrials
from fuzz.trials import Outcome, attempted
from hpr.poses import PoseSequence


def outcomes(kind: type[Format], tries: int, folder: Path) -> tuple[Counter[Outcome], list[str]]:
    """Tries a format in this process; returns what became of the tries, and the first words about each defect."""
    trials = FileTrials(0, {kind.name: kind})
    counts: Counter[Outcome] = Counter()
    defects = []
    for number in range(tries):
        own = folder / str(number)
        own.mkdir()
        result = attempted(trials, number, own)
        counts[result.outcome] += 1
        if result.outcome is Outcome.DEFECT:
            defects.append(result.detail)
    return counts, defects


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_tried(name: str, tmp_path: Path) -> None:
    counts, _ = outcomes(FORMATS[name], 60, tmp_path)
    assert counts[Outcome.ACCEPTED] > 5
    assert counts[Outcome.REFUSED] > 5
    assert counts[Outcome.DEFECT] == 0


@pytest.mark.parametrize("number", [0, 7, 1000])
def test_a_try_is_a_function_of_its_number(number: int, tmp_path: Path) -> None:
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        trials = FileTrials(0)
        if folder.name == "b":  # another one before it changes nothing
            (tmp_path / "c").mkdir()
            trials.make(number + 1, tmp_path / "c")
        source, file_format = trials.make(number, folder)
        made.append((source.read_bytes(), file_format.name))
    assert made[0] == made[1]


class ForgetsTracks(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        (sequence,) = sequences
        forgotten = [replace(frame, track_ids=(None,) * len(frame)) for frame in sequence.frames]
        frames = forgotten if sequence.original else sequence.frames
        super().write([replace(sequence, frames=frames, original=None)], path)


class ForgetsFields(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        super().write([replace(sequence, original=None) for sequence in sequences], path)


class WritesWhatItRead(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        (sequence,) = sequences
        if sequence.original is None:
            super().write(sequences, path)
        else:
            path.write_text(json.dumps(sequence.original.document))


class ForgetsPeople(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        (sequence,) = sequences
        frames = (
            [frame.select(frame.records >= 0) for frame in sequence.frames] if sequence.original else sequence.frames
        )
        super().write([replace(sequence, frames=frames)], path)


class Fails(PoseTrack18):
    def read(self, path: Path) -> list[PoseSequence]:
        try:
            return super().read(path)
        except UserError as error:
            raise KeyError(str(error)) from None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ForgetsTracks, "track_ids"),
        (ForgetsFields, "lost field: read and written"),
        (WritesWhatItRead, "lost pose: moved, written and read again"),
        (ForgetsPeople, "lost person: one left out and one new"),
        (Fails, "KeyError"),
    ],
)
def test_what_a_broken_format_does_is_found(kind: type[Format], words: str, tmp_path: Path) -> None:
    _, defects = outcomes(kind, 60, tmp_path)
    assert any(words in defect for defect in defects), defects[:3]
