"""Charts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hpr.errors import UserError
from hpr.report.charts import save_grouped_bars


def coloured(path: Path) -> int:
    """Returns the number of pixels that are neither grey nor nearly so."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return int((np.ptp(picture.astype(int), axis=2) > 40).sum())


def test_grouped_bars(tmp_path: Path) -> None:
    groups = ["one", "two"]
    small = {"speed": {"plain": [1.0, 2.0], "engine": [1.0, 2.0]}}
    large = {"speed": {"plain": [1.0, 2.0], "engine": [2.0, 2.0]}}
    save_grouped_bars(groups, small, tmp_path / "small.png")
    save_grouped_bars(groups, large, tmp_path / "large.png", digits=2, title="faster")
    assert 0 < coloured(tmp_path / "small.png") < coloured(tmp_path / "large.png")


def test_a_panel_below_the_other(tmp_path: Path) -> None:
    panel = {"before": [1.0], "after": [-2.0]}
    save_grouped_bars(["all"], {"AP (%)": panel}, tmp_path / "one.png")
    save_grouped_bars(["all"], {"AP (%)": panel, "MOTA (%)": panel}, tmp_path / "two.png")
    one, two = (cv2.imread(str(tmp_path / name)) for name in ("one.png", "two.png"))
    assert one is not None
    assert two is not None
    assert two.shape == (2 * one.shape[0], *one.shape[1:])


def test_missing_values_leave_gaps(tmp_path: Path) -> None:
    save_grouped_bars(["one", "two"], {"AP": {"before": [1.0, 1.0], "after": [1.0, np.nan]}}, tmp_path / "gap.png")
    save_grouped_bars(["one", "two"], {"AP": {"before": [1.0, 1.0], "after": [1.0, 1.0]}}, tmp_path / "full.png")
    assert 0 < coloured(tmp_path / "gap.png") < coloured(tmp_path / "full.png")


def test_more_series_than_colours(tmp_path: Path) -> None:
    panel = {f"{count} per frame": [float(count)] for count in range(1, 10)}
    save_grouped_bars(["510 × 560"], {"persons per second": panel}, tmp_path / "many.png")
    assert coloured(tmp_path / "many.png") > 0


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_grouped_bars(["one"], {"AP": {"before": [1.0]}}, tmp_path / "file" / "chart.png")
