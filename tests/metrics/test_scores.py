"""The value that every metric fills, and its tables."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scored_clips import Person, people, score, sequence, without_track_ids

from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES
from hpr.metrics.scores import Scores, or_none, sequence_changes
from hpr.poses import Frame, PoseSequence
from hpr.refine.objective import MOTA
from hpr.report.tables import comparison_table, score_table
from hpr.skeleton import POSETRACK15

POSES = people(3)
TRUTH = sequence(*[[Person(pose)] for pose in POSES])
OKS = Scores({"OKS": {"AP": 50.0, "APM": math.nan}}, "AP", {"AP": 50.0}, 50.0, people=3, warnings=["odd"])


def shifted(wrong: int, by: float = 500.0) -> PoseSequence:
    """The truth with a number of keypoints put elsewhere in every frame."""
    poses = POSES.copy()
    poses[:, :wrong] += by
    return sequence(*[[Person(pose)] for pose in poses])


BEFORE, AFTER = score((TRUTH, shifted(5))), score((TRUTH, TRUTH))
UNTRACKED = score((TRUTH, without_track_ids(TRUTH)))


def test_json_of_a_single_table() -> None:
    assert OKS.summary() == {"OKS": {"AP": 50.0, "APM": None}}
    assert OKS.as_json() == {"total": OKS.summary(), "people": 3, "warnings": ["odd"]}
    assert (OKS.columns, OKS.totals) == (("AP", "APM"), {"OKS": 50.0})


@pytest.mark.parametrize("scores", [BEFORE, UNTRACKED])
def test_json_of_posetrack(scores: Scores) -> None:
    own = {metric: {name: or_none(value) for name, value in row.items()} for metric, row in scores.by_keypoint.items()}
    assert scores.as_json() == {"total": own, "sequences": {"clip": own}, "warnings": scores.warnings}
    totals = {metric: own[metric]["total"] for metric in AP_SCORES + MOT_SCORES}
    joints = {metric: own[metric] for metric in ("AP", "MOTA")}
    expected = {"mAP": totals.pop("AP"), **totals, "joints": joints}
    assert list(scores.summary().items()) == list(expected.items())
    assert (own["MOTA"]["total"] is None) == (scores is UNTRACKED)


class TestSelection:
    def test_mean_of_map_and_mota(self) -> None:
        assert BEFORE.metrics == pytest.approx({"mAP": 100 * 10 / 15, "MOTA": 100 / 3, "PCKh": 100 * 10 / 15})
        assert BEFORE.selection == pytest.approx(50)
        # Without tracks it is mAP alone.
        assert math.isnan(UNTRACKED.metrics["MOTA"])
        assert UNTRACKED.selection == 100

    def test_mota_of_confident_keypoints_alone(self) -> None:
        """The wrong keypoints are unsure: without them MOTA has no false positives, while mAP is of all keypoints."""
        confidences = np.where(np.arange(15) < 9, MOTA.keep, 0.9)[None]
        wrong = shifted(9)
        refined = replace(wrong, frames=[replace(frame, confidences=confidences) for frame in wrong.frames])
        share = pytest.approx(100 * 6 / 15)
        assert score((TRUTH, refined)).metrics["MOTA"] == pytest.approx(-20)  # 6 keypoints have 100, the others -100
        found = score((TRUTH, refined), mota_threshold=MOTA.keep)
        assert found.metrics == {"mAP": share, "MOTA": share, "PCKh": share}
        assert found.selection == share
        assert found.sequences["clip"].metrics == found.metrics

    @pytest.mark.parametrize("clip", [PoseSequence("clip", [Frame.empty("0.jpg", POSETRACK15)] * 3), shifted(9)])
    def test_poses_that_were_not_refined_count_whole(self, clip: PoseSequence) -> None:
        found, plain = score((TRUTH, clip), mota_threshold=MOTA.keep), score((TRUTH, clip))
        assert found.as_json() == plain.as_json()


def cells(table: str) -> list[list[str]]:
    return [line.split() for line in table.split("\n")]


class TestTables:
    def test_one(self) -> None:
        assert cells(score_table(OKS)) == [["AP", "APM"], ["OKS", "50.0", "–"]]

    def test_further_totals_of_posetrack(self) -> None:
        rows = cells(score_table(UNTRACKED))
        assert rows[:3] == [[*UNTRACKED.columns], ["AP", *["100.0"] * 8], ["MOTA", *["–"] * 8]]
        assert [row[-1] for row in rows[4:]] == ["100.0", "100.0", "–", "–", "–"]

    def test_before_and_after(self) -> None:
        # The first five keypoints, which are wrong before, are both hips, both knees and the right ankle.
        table = comparison_table(BEFORE, AFTER)
        assert cells(table)[:4] == [
            ["Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total"],
            ["AP", "before", "100.0", "100.0", "100.0", "100.0", "0.0", "0.0", "50.0", "66.7"],
            ["after", *["100.0"] * 8],
            ["difference", "+0.0", "+0.0", "+0.0", "+0.0", "+100.0", "+100.0", "+50.0", "+33.3"],
        ]
        assert cells(table)[4][:2] == ["MOTA", "before"]
        assert len({len(line) for line in table.split("\n")}) == 1
        assert cells(comparison_table(BEFORE, UNTRACKED))[6] == ["difference", *["–"] * 8]


class TestSequenceChanges:
    def test_highest_gain_first(self) -> None:
        clips = {name: replace(TRUTH, name=name) for name in ("better", "same", "worse")}

        def scored(**wrong: int) -> Scores:
            return score(*[(clips[name], replace(shifted(count), name=name)) for name, count in wrong.items()])

        changes = sequence_changes(scored(worse=0, same=2, better=5), scored(worse=4, same=2, better=0))
        assert [change.name for change in changes] == ["better", "same", "worse"]
        assert [np.sign(change.gain) for change in changes] == [1, 0, -1]
        assert changes[0].scores["AP"] == pytest.approx((100 * 10 / 15, 100))

    def test_without_tracks_ap_counts_alone(self) -> None:
        (change,) = sequence_changes(UNTRACKED, AFTER)
        assert math.isnan(change.scores["MOTA"][0])
        assert change.gain == 0
