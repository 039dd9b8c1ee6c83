"""Wild images: those that the tool makes are read or refused, and each kind of both is among them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fuzz.images import ImageTrials
from fuzz.trials import Outcome, attempted, run_trials
from hpr.refine.engine import PoseRefiner


def test_images_are_read_or_refused() -> None:
    counts = Counter(result.outcome for _, result in run_trials(ImageTrials(0), range(96)))
    assert counts[Outcome.DEFECT] == 0
    assert min(counts[Outcome.ACCEPTED], counts[Outcome.REFUSED]) > 10


@pytest.mark.parametrize("number", [0, 5, 40])
def test_a_try_is_a_function_of_its_number(number: int, tmp_path: Path) -> None:
    contents, poses = [], []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        poses.append(ImageTrials(0).make(number, folder))
        contents.append([path.read_bytes() for path in folder.iterdir()])
    assert contents[0] == contents[1]
    np.testing.assert_array_equal(poses[0], poses[1])


def test_poses_are_wild(tmp_path: Path) -> None:
    trials = ImageTrials(0)
    poses = []
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        poses.append(trials.make(number, folder))
    found = np.concatenate(poses)
    assert np.isnan(found).any()
    assert np.isinf(found).any()
    assert (np.abs(found[np.isfinite(found)]) > 1e200).any()
    assert (found < -501).any()


def test_a_failing_engine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(self: PoseRefiner, *arguments: object, **others: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PoseRefiner, "prepare", prepare)
    trials, outcomes = ImageTrials(0), []
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcomes.append(attempted(trials, number, folder))
    assert any("ZeroDivisionError" in result.detail for result in outcomes)
