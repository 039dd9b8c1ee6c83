"""Scores before and after refining."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scored_clips import Person, people, sequence

from hpr.errors import UserError
from hpr.metrics.comparison import (
    Comparison,
    ObjectiveScores,
    comparison_table,
    confident,
    save_chart,
    sequence_changes,
)
from hpr.metrics.oks import OksScores
from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES, Evaluation, evaluate
from hpr.refine.objective import MOTA
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15

POSES = people(3)
TRUTH = sequence(*[[Person(pose)] for pose in POSES])


def shifted(wrong: int, by: float = 500.0) -> PoseSequence:
    """The truth with a number of keypoints put elsewhere in every frame."""
    poses = POSES.copy()
    poses[:, :wrong] += by
    return sequence(*[[Person(pose)] for pose in poses])


def sure(poses: PoseSequence, confidences: FloatArray) -> PoseSequence:
    """A sequence as if refined with confidences (15,) in every frame."""
    return replace(poses, frames=[replace(frame, confidences=confidences[None]) for frame in poses.frames])


class CountedFiles(Mapping[str, list[PoseSequence]]):
    """Files of one name each that count how often they are asked for."""

    def __init__(self, files: dict[str, list[PoseSequence]]) -> None:
        self._files = files
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> list[PoseSequence]:
        self.asked.append(name)
        return self._files[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def test_before_and_after() -> None:
    truth = CountedFiles({"clip.json": [TRUTH], "unpredicted.json": [TRUTH]})
    done: list[int] = []
    comparison = Comparison(truth, {"clip.json": [shifted(5)]}, progress=done.append)
    assert comparison.before.total["AP"]["total"] == pytest.approx(100 * 10 / 15)
    after = comparison.after({"clip.json": [shifted(3)]}, done.append)
    assert after.total["AP"]["total"] == pytest.approx(100 * 12 / 15)
    assert after.as_json() == comparison.after({"clip.json": [shifted(3)]}).as_json()
    assert truth.asked == ["clip.json"]  # the ground truth is read once
    missing = "1 sequences have no prediction and are not scored, such as unpredicted.json"
    assert comparison.before.warnings == after.warnings == [missing]
    assert done == [1, 1]


def test_no_file_in_common() -> None:
    truth = CountedFiles({"a.json": [TRUTH]})
    with pytest.raises(UserError, match=r"^DIR: expected a file named like one of OTHER, such as b.json, found none$"):
        Comparison(truth, {"b.json": [TRUTH]}, ("DIR", "OTHER"))
    assert truth.asked == []


def test_nothing_to_compare() -> None:
    with pytest.raises(UserError, match="there is no sequence to be scored"):
        Comparison({}, {})


def test_confident_keypoints() -> None:
    confidences = np.where(np.arange(15) < 4, 0.7, 0.8)
    (kept, *_) = confident(sure(TRUTH, confidences), 0.7).frames
    assert (np.isnan(kept.keypoints[0]).any(axis=1) == (np.arange(15) < 4)).all()  # only what is above is kept
    assert (kept.flags[0] == (np.arange(15) >= 4)).all()
    np.testing.assert_array_equal(kept.keypoints[0, 4:], POSES[0, 4:])


def test_poses_that_were_not_refined_are_kept() -> None:
    (kept, *_) = confident(TRUTH, 0.7).frames
    np.testing.assert_array_equal(kept.keypoints, TRUTH.frames[0].keypoints)
    np.testing.assert_array_equal(kept.flags, TRUTH.frames[0].flags)


def test_nobody_is_confident_in_an_empty_frame() -> None:
    empty = PoseSequence("clip", [Frame.empty("0.jpg", POSETRACK15)])
    assert len(confident(empty, 0.7).frames[0]) == 0


def test_objectives() -> None:
    """The wrong keypoints are unsure: MOTA is then without their false positives, while mAP is of all keypoints."""
    comparison = Comparison({"clip": [TRUTH]}, {"clip": [shifted(9)]})
    share = 100 * 6 / 15
    before = comparison.objectives_before
    assert before.mean_ap == before.pckh == pytest.approx(share)
    assert before.mota == pytest.approx(-20)  # 6 of 15 keypoints have 100, the others -100

    refined = sure(shifted(9), np.where(np.arange(15) < 9, MOTA.keep, 0.9))
    after = comparison.objectives_after({"clip": [refined]})
    assert after.mean_ap == after.pckh == pytest.approx(share)
    assert after.mota == pytest.approx(share)
    assert after.mean == pytest.approx(share)
    unrefined = comparison.objectives_after({"clip": [shifted(9)]})
    assert unrefined == before


def test_mean_of_objectives() -> None:
    assert ObjectiveScores(mean_ap=80.0, mota=60.0, pckh=10.0).mean == 70


@pytest.fixture
def before() -> Evaluation:
    return evaluate([(TRUTH, shifted(5))])


@pytest.fixture
def after() -> Evaluation:
    return evaluate([(TRUTH, TRUTH)])


@pytest.fixture
def untracked() -> Evaluation:
    frames = [replace(frame, track_ids=(None,)) for frame in TRUTH.frames]
    return evaluate([(TRUTH, replace(TRUTH, frames=frames))])


def test_comparison_table(before: Evaluation, after: Evaluation) -> None:
    # The first five keypoints, which are wrong before, are both hips, both knees and the right ankle.
    lines = comparison_table(before, after).split("\n")
    assert [line.split() for line in lines] == [
        ["Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total"],
        ["AP", "before", "100.0", "100.0", "100.0", "100.0", "0.0", "0.0", "50.0", "66.7"],
        ["after", *["100.0"] * 8],
        ["difference", "+0.0", "+0.0", "+0.0", "+0.0", "+100.0", "+100.0", "+50.0", "+33.3"],
        ["MOTA", "before", "100.0", "100.0", "100.0", "100.0", "-100.0", "-100.0", "0.0", "33.3"],
        ["after", *["100.0"] * 8],
        ["difference", "+0.0", "+0.0", "+0.0", "+0.0", "+200.0", "+200.0", "+100.0", "+66.7"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_comparison_table_without_mota(before: Evaluation, untracked: Evaluation) -> None:
    lines = comparison_table(before, untracked).split("\n")
    assert lines[5].split() == ["after", *["–"] * 8]
    assert lines[6].split() == ["difference", *["–"] * 8]


def test_totals(before: Evaluation, untracked: Evaluation) -> None:
    found = before.summary()
    assert list(found) == ["mAP", *(AP_SCORES + MOT_SCORES)[1:], "joints"]
    assert found["mAP"] == before.total["AP"]["total"]
    assert found["joints"] == {"AP": before.total["AP"], "MOTA": before.total["MOTA"]}
    without = untracked.summary()
    assert without["mAP"] == 100
    assert without["MOTA"] is None
    assert set(without["joints"]["MOTA"].values()) == {None}


def test_chart(before: Evaluation, after: Evaluation, untracked: Evaluation, tmp_path: Path) -> None:
    assert save_chart(before, after, tmp_path / "both.png")
    assert save_chart(before, untracked, tmp_path / "ap.png")
    both, ap = (cv2.imread(str(tmp_path / name)) for name in ("both.png", "ap.png"))
    assert both is not None
    assert ap is not None
    assert math.isclose(both.shape[0], 2 * ap.shape[0], abs_tol=2)  # without MOTA there is one chart
    assert ap.std() > 10
    with pytest.raises(UserError, match="cannot be written"):
        save_chart(before, after, Path("/proc/none/chart.png"))


def test_the_mean_without_tracks_is_map_alone() -> None:
    assert ObjectiveScores(60.0, 40.0, 70.0).mean == 50
    assert ObjectiveScores(60.0, math.nan, 70.0).mean == 60


class TestSequenceChanges:
    def test_scores_without_sequences(self) -> None:
        scores = OksScores(("AP",), {"OKS": {"AP": 50.0}})
        assert sequence_changes(scores, scores) == []

    def test_gains_first(self) -> None:
        clips = {name: replace(TRUTH, name=name) for name in ("better", "same", "worse")}

        def scored(**wrong: int) -> Evaluation:
            return evaluate([(clips[name], replace(shifted(count), name=name)) for name, count in wrong.items()])

        changes = sequence_changes(scored(worse=0, same=2, better=5), scored(worse=4, same=2, better=0))
        assert [change.name for change in changes] == ["better", "same", "worse"]
        assert [np.sign(change.gain) for change in changes] == [1, 0, -1]
        assert list(changes[0].scores["AP"]) == pytest.approx([100 * 10 / 15, 100])

    def test_without_tracks_ap_counts_alone(self, untracked: Evaluation, after: Evaluation) -> None:
        (change,) = sequence_changes(untracked, after)
        assert math.isnan(change.scores["MOTA"][0])
        assert change.gain == 0
