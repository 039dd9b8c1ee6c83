"""`hpr evaluate`."""

import json
from pathlib import Path

from conftest import GOLDEN, succeed

from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES
from hpr.skeleton import POSETRACK15

TRUTH, PREDICTION = GOLDEN / "evaluation" / "gt", GOLDEN / "evaluation" / "pred"
BOTH = [f"dataset.annotations={TRUTH}", f"dataset.predictions={PREDICTION}"]


def test_table_and_file(tmp_path: Path) -> None:
    output = succeed("evaluate", *BOTH, f"output={tmp_path / 'metrics.json'}")
    rows = [line.split() for line in output.split("\n")]
    assert rows[0] == ["Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total"]
    public = json.loads((GOLDEN / "evaluation" / "poseval.json").read_text())
    for row, title, values in (
        (rows[1], "AP", public["total_AP_metrics"]["ap"]),
        (rows[2], "MOTA", public["total_MOT_metrics"]["mota"]),
    ):
        groups = [(14, 12, 13), (8, 9), (7, 10), (6, 11), (2, 3), (1, 4), (0, 5), (15,)]
        assert row == [title, *(f"{sum(values[i] for i in group) / len(group):.1f}" for group in groups)]
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content.keys() == {"total", "sequences", "warnings"}
    assert content["sequences"].keys() == {path.stem for path in TRUTH.iterdir()}
    for scores in (content["total"], *content["sequences"].values()):
        assert tuple(scores) == AP_SCORES + MOT_SCORES
        assert all(tuple(values) == (*POSETRACK15.names, "total") for values in scores.values())
