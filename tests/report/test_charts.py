"""Charts as SVG elements."""

import math
import re
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from hpr.report.charts import bars_svg, histogram_svg

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: Markup) -> set[str]:
    return {
        (element.text or "").replace("\N{MINUS SIGN}", "-")
        for element in ElementTree.fromstring(svg).iter(f"{SVG}text")
    }


def bar_heights(svg: Markup, colour: str) -> list[float]:
    """Returns the heights of the bars of a colour, in the order in which they are drawn."""
    heights = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if colour in path.get("style", "") and path.get("d", "").count("L") == 3:
            ys = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path.get("d", ""))]
            heights.append(max(ys) - min(ys))
    return heights


@pytest.mark.parametrize(
    "svg",
    [
        bars_svg([], {}, "%"),
        bars_svg(["a"], {"input": [math.nan]}, "%"),
        histogram_svg([], [""], "poses", "heads"),
        histogram_svg([0, 0], ["0", "1", "2"], "poses", "heads"),
    ],
)
def test_nothing_to_draw(svg: Markup) -> None:
    assert ElementTree.fromstring(svg).get("role") == "img"
    assert "nan" not in svg


def test_bars() -> None:
    svg = bars_svg(["Head", "Ankl"], {"input": [50.0, -20.0], "refined": [100.0, math.nan]}, "%")
    assert {"Head", "Ankl", "input", "refined", "50", "-20", "100", "%"} <= texts(svg)
    heights = bar_heights(svg, "--series-0")
    assert heights[1] == pytest.approx(0.4 * heights[0], rel=0.01)
    assert bar_heights(svg, "--series-1")[0] == pytest.approx(2 * heights[0], rel=0.01)


def test_histogram() -> None:
    svg = histogram_svg([1, 3, 6], ["0", "1", "2", "more"], "poses", "heads")
    assert {"poses", "heads", "0", "more"} <= texts(svg)
    heights = bar_heights(svg, "--series-1")
    assert heights == pytest.approx([heights[0], 3 * heights[0], 6 * heights[0]], rel=0.01)


def test_names_are_escaped() -> None:
    evil = '<script>&"$x_1$'
    for svg in (bars_svg([evil], {evil: [1.0], "b": [2.0]}, evil), histogram_svg([1], [evil, evil], evil, evil)):
        assert "<script" not in svg
        assert evil in texts(svg)


def test_the_page_sets_colours_and_font() -> None:
    svg = bars_svg(["a"], {str(index): [1.0] for index in range(9)}, "%")
    assert {"currentColor", "var(--series-3, #2ca02c)"} <= set(re.findall(r"fill: ([^;\"]+)", svg))
    assert set(re.findall(r"font-family: ([^;\"]+)", svg)) == {"inherit"}
    assert not re.search(r"<style|<metadata|url\(", svg)
