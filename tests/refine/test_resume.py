"""Which files an earlier run has finished."""

from pathlib import Path

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import PoseFile
from hpr.refine.results import Outcome
from hpr.refine.resume import Journal
from hpr.refine.tally import Tally
from hpr.skeleton import POSETRACK18

SETTINGS = {"weights": "abc", "keep": 0.7}
COUNTS = '{"settings": "", "input": "", "output": "", "sequences": %s}'


@pytest.fixture
def file(tmp_path: Path) -> PoseFile:
    """A file of poses and its result."""
    sequence = PoseSequence("clip", [Frame("a.png", POSETRACK18, np.ones((1, 17, 2)))])
    for path in (tmp_path / "clip.json", tmp_path / "out" / "predictions" / "clip.json"):
        PoseTrack18().write([sequence], path)
    return PoseFile(tmp_path / "clip.json", [sequence], "clip.json")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "out", SETTINGS)


def tally(*outcomes: Outcome) -> Tally:
    counts = Tally(frames=3, kept=10, dropped=2, added=1)
    counts.outcomes.update(outcomes)
    return counts


def test_what_was_noted_is_finished(file: PoseFile, journal: Journal, tmp_path: Path) -> None:
    assert journal.finished(file) is None
    tallies = {"clip": tally(Outcome.REFINED, Outcome.REFINED, Outcome.NO_KEYPOINTS)}
    journal.note(file, tallies)
    assert Journal(tmp_path / "out", dict(reversed(SETTINGS.items()))).finished(file) == tallies


@pytest.mark.parametrize("outcome", [Outcome.BAD_IMAGE, Outcome.MEMORY, Outcome.NOT_FINITE])
def test_a_failed_pose_is_tried_again(outcome: Outcome, file: PoseFile, journal: Journal) -> None:
    journal.note(file, {"clip": tally(Outcome.REFINED, outcome)})
    assert journal.finished(file) is None


def test_other_settings(file: PoseFile, journal: Journal, tmp_path: Path) -> None:
    journal.note(file, {"clip": tally()})
    with pytest.raises(UserError, match=r"clip.json was refined with other settings or weights; .*overwrite=true"):
        Journal(tmp_path / "out", {**SETTINGS, "keep": 0.0}).finished(file)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        pytest.param("clip.json", "{}", id="the input changed"),
        pytest.param("out/predictions/clip.json", "{}", id="the result changed"),
        pytest.param("out/predictions/clip.json", None, id="the result is gone"),
        *(("out/.journal/clip.json", text) for text in ("", "{", "[]", "{}", "null", '{"settings": 1}')),
        *(("out/.journal/clip.json", COUNTS % text) for text in ("[]", '{"clip": {}}', '{"clip": 5}', "null")),
    ],
)
def test_changed_files(path: str, content: str | None, file: PoseFile, journal: Journal, tmp_path: Path) -> None:
    journal.note(file, {"clip": tally()})
    assert journal.finished(file) is not None
    if content is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_text(content)
    assert journal.finished(file) is None
