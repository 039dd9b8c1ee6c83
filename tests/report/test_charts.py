"""Charts."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from markupsafe import Markup

from hpr.errors import UserError
from hpr.report.charts import bars_svg, histogram_svg, lines_svg, save_grouped_bars


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


def texts(svg: Markup) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def sizes(svg: Markup, name: str) -> list[float]:
    return [float(element.get(name, "nan")) for element in ElementTree.fromstring(svg).iter("rect")]


class TestForPages:
    """As SVG."""

    @pytest.mark.parametrize(
        "svg",
        [
            bars_svg([], {}, "%"),
            bars_svg(["a"], {"input": [math.nan]}, "%"),
            histogram_svg([], [""], "poses", "heads"),
            histogram_svg([0, 0], ["0", "1", "2"], "poses", "heads"),
            lines_svg({}, "loss", "steps"),
            lines_svg({"loss": [(1, math.nan), (2, math.inf)]}, "loss", "steps"),
            lines_svg({"loss": [(5, 3.0)]}, "loss", "steps"),
        ],
    )
    def test_nothing_to_draw(self, svg: Markup) -> None:
        assert ElementTree.fromstring(svg).get("role") == "img"
        assert "nan" not in svg
        assert "inf" not in svg

    def test_bars(self) -> None:
        svg = bars_svg(["Head", "Ankl"], {"input": [50.0, -20.0], "refined": [100.0, math.nan]}, "%")
        heights = sizes(svg, "height")[:3]  # then the legend's
        assert heights[2] == pytest.approx(2 * heights[0], abs=0.2)
        assert heights[1] == pytest.approx(0.4 * heights[0], abs=0.2)
        assert {"Head", "Ankl", "input", "refined", "100", "%"} <= set(texts(svg))
        assert "Head, refined: 100.0" in svg

    def test_histogram(self) -> None:
        svg = histogram_svg([1, 3, 1_500_000], ["0", "1", "2", "more"], "poses", "heads")
        assert sizes(svg, "height")[2] > 100
        assert "2 to more: 1500000 (100.0 %)" in svg
        assert {"poses", "heads", "1.5M", "500k"} <= set(texts(svg))

    def test_curves(self) -> None:
        svg = lines_svg({"part": [(0, 2.0), (100, 1.0)], "offset": [(0, 1.0), (50, math.nan)]}, "loss", "steps")
        (line, _) = ElementTree.fromstring(svg).iter("polyline")
        (x0, y0), (x1, y1) = ([float(value) for value in point.split(",")] for point in line.get("points", "").split())
        assert x0 < x1
        assert y0 < y1  # downwards
        assert {"part", "offset", "steps", "100"} <= set(texts(svg))

    def test_names_are_escaped(self) -> None:
        evil = '<script>&"'
        drawn = [
            bars_svg([evil], {evil: [1.0], "b": [2.0]}, evil),
            histogram_svg([1], [evil, evil], evil, evil),
            lines_svg({evil: [(0, 1.0)], "b": []}, evil, evil),
        ]
        for svg in drawn:
            assert "<script" not in svg
            assert evil in texts(svg)

    def test_colours_are_the_pages(self) -> None:
        svg = bars_svg(["a"], {str(number): [1.0] for number in range(9)}, "%")
        assert set(re.findall(r'fill="([^"(]*)', svg)) == {"currentColor", "var"}
