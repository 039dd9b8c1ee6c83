"""What an earlier run has finished."""

from pathlib import Path

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.refine.engine import Outcome
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import PoseFile
from hpr.refine.resume import Journal
from hpr.refine.tally import Place, Tally
from hpr.skeleton import POSETRACK18

SETTINGS = {"weights": "abc", "keep": 0.7}


@pytest.fixture
def file(tmp_path: Path) -> PoseFile:
    """A file of poses and its result."""
    sequence = PoseSequence("clip", [Frame("a.png", POSETRACK18, np.ones((1, 17, 2)))])
    for path in (tmp_path / "clip.json", tmp_path / "out" / "predictions" / "clip.json"):
        PoseTrack18().write([sequence], path)
    return PoseFile(tmp_path / "clip.json", [sequence])


def tally(*outcomes: Outcome) -> Tally:
    counts = Tally(frames=3, kept=10, dropped=2, added=1)
    counts.outcomes.update(outcomes)
    counts.moved.update({7: 2, 1000: 1})
    counts.count_confidences(np.array([0.2, 0.9]))
    counts.note_frame(Place(2, "a.png"), outcomes, [0.1, 0.3])
    return counts


def test_nothing_was_done(file: PoseFile, tmp_path: Path) -> None:
    assert Journal(tmp_path / "out", SETTINGS).finished(file) is None


def test_what_was_noted_is_finished(file: PoseFile, tmp_path: Path) -> None:
    done = {"clip": tally(Outcome.REFINED, Outcome.REFINED, Outcome.NO_KEYPOINTS)}
    Journal(tmp_path / "out", SETTINGS).note(file, done)
    found = Journal(tmp_path / "out", dict(reversed(SETTINGS.items()))).finished(file)
    assert found is not None
    assert found == done


@pytest.mark.parametrize("outcome", [Outcome.BAD_IMAGE, Outcome.MEMORY, Outcome.NOT_FINITE])
def test_a_failed_pose_is_tried_again(outcome: Outcome, file: PoseFile, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", SETTINGS)
    journal.note(file, {"clip": tally(Outcome.REFINED, outcome)})
    assert journal.finished(file) is None


def test_other_settings(file: PoseFile, tmp_path: Path) -> None:
    Journal(tmp_path / "out", SETTINGS).note(file, {"clip": tally()})
    with pytest.raises(UserError, match=r"clip.json was refined with other settings or weights; .*overwrite=true"):
        Journal(tmp_path / "out", {**SETTINGS, "keep": 0.0}).finished(file)


@pytest.mark.parametrize("changed", ["clip.json", "out/predictions/clip.json"])
def test_a_changed_file(changed: str, file: PoseFile, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", SETTINGS)
    journal.note(file, {"clip": tally()})
    (tmp_path / changed).write_text("{}")
    assert journal.finished(file) is None


def test_a_result_that_is_gone(file: PoseFile, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", SETTINGS)
    journal.note(file, {"clip": tally()})
    (tmp_path / "out" / "predictions" / "clip.json").unlink()
    assert journal.finished(file) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"settings": 1}'])
def test_a_damaged_entry(text: str, file: PoseFile, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", SETTINGS)
    journal.note(file, {"clip": tally()})
    (tmp_path / "out" / ".journal" / "clip.json").write_text(text)
    assert journal.finished(file) is None


@pytest.mark.parametrize("sequences", ["[]", '{"clip": {}}', '{"clip": 5}', "null"])
def test_an_entry_with_odd_counts(sequences: str, file: PoseFile, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", SETTINGS)
    journal.note(file, {"clip": tally()})
    path = tmp_path / "out" / ".journal" / "clip.json"
    before, _, _ = path.read_text().partition('"sequences":')
    path.write_text(f'{before}"sequences":{sequences}}}')
    assert journal.finished(file) is None
