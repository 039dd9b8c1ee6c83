"""Pages for a browser."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import look, needs_browser

from hpr.images import Image
from hpr.report.charts import bars_svg
from hpr.report.html import Fact, Page, Picture, Section, Table, crop_around, jpeg_bytes, render, save_page

EVIL = "<script>alert(1)</script>\"'&amp;"


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(value: int) -> bytes:
    return jpeg_bytes(np.full((90, 160, 3), value, np.uint8))


def full_page(name: str = "a.jpg") -> Page:
    """A page with one of everything, of names that are to be shown as they are."""
    images = {f"input {name}": grey(50), "refined": grey(100), "truth": grey(200)}
    section = Section(
        f"Section {name}",
        [f"A note on {name}."],
        {f"Chart {name}": bars_svg([name, "b"], {name: [1.0, 2.0], "refined": [2.0, -1.0]}, name)},
        [Table(f"Table {name}", (name, "input", "difference"), [(name, "1.0", "+2.0"), ("b", name, "-1.0")])],
        [Picture(f"Picture {name}", f"Caption {name}", images), Picture("Gone", problem=f"{name}: no such image")],
    )
    return Page(f"Page {name}", f"Of {name}", [Fact(name, f"fact {name}", f"note {name}")], [f"odd: {name}"], [section])


def test_an_empty_page() -> None:
    text = render(Page("Nothing"))
    assert "<h1>Nothing</h1>" in text
    assert not re.search(r"<(h2|table|figure|svg|dl)\b", text)
    assert "None" not in text


def test_names_are_escaped() -> None:
    text = render(full_page(EVIL))
    assert text.count("<script>") == text.count("<script") == 1  # the slider's own
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 15
    assert "\"'&amp;amp" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    save_page(full_page("\udcff\0"), tmp_path / "page.html")
    assert "Page ?" in (tmp_path / "page.html").read_text()


def test_nothing_is_loaded_and_no_other_script_runs() -> None:
    text = render(full_page())
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" in text
    sources = re.findall(r'(?:src|href)="([^#][^"]*)"', text)
    assert len(sources) == 4
    assert all(source.startswith("data:") for source in sources)
    assert "url(" not in text


@pytest.mark.parametrize("size", [(1, 1), (480, 640), (4000, 30), (30, 4000), (2000, 3000)])
def test_images_take_little_room(size: tuple[int, int]) -> None:
    jpeg = jpeg_bytes(noise(*size))
    assert max(Picture("noise", images={"input": jpeg}).size) <= 800
    assert len(jpeg) <= 80_000
    assert Picture("grey", images={"input": grey(7)}).size == (160, 90)


def test_all_of_an_image_is_shown_where_there_is_no_pose() -> None:
    part, factor, shift = crop_around(noise(300, 400), np.empty((0, 2)))
    assert (part.shape, factor.tolist(), shift.tolist()) == ((600, 800, 3), [2, 2], [0.5, 0.5])


@pytest.mark.parametrize("shift", [0.0, 1e9, -1e9, 600.0])
@pytest.mark.parametrize("size", [1, 20, 400])
def test_the_part_about_a_person(shift: float, size: int) -> None:
    points = np.array([[800.0, 400.0], [800.0 + size / 2, 400.0 + size]]) + shift
    part, factor, offset = crop_around(noise(1080, 1920), points)
    assert max(part.shape[:2]) <= 800
    assert ((factor > 0) & (factor <= 16)).all()
    if shift == 0:
        shown = points * factor + offset
        assert (shown > 20).all()
        assert (shown < np.array(part.shape[1::-1]) - 20).all()
        assert np.ptp(shown[:, 1]) >= min(16 * size, 400)


def test_much_is_cut_down(tmp_path: Path) -> None:
    rows = [(f"{'long ' * 100}{number}", "1") for number in range(10_000)]
    images = {label: jpeg_bytes(noise(640, 640)) for label in ("input", "refined", "truth")}
    picture = Picture("noise", images=images)
    section = Section("Much", ["note " * 1000] * 1000, {}, [Table("", ("a", "b"), rows)], [picture] * 200)
    save_page(Page("Much", "", [], ["warning " * 100] * 10_000, [section]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert len(text) < 6_000_000
    assert "… and 9940 more rows" in text
    assert "… and 9980 more warnings" in text
    assert "… and 184 more pictures" in text


@needs_browser
def test_in_a_browser(tmp_path: Path) -> None:
    save_page(full_page(EVIL), tmp_path / "page.html")
    for seen in look(tmp_path / "page.html", tmp_path):
        assert seen["title"] == f"Page {EVIL}"
        assert seen["headings"] == [f"Section {EVIL}"]
        assert seen["facts"] == [f"fact {EVIL}\n{EVIL}\nnote {EVIL}"]
        for words in (f"odd: {EVIL}", f"A note on {EVIL}.", f"Chart {EVIL}", f"Table {EVIL}", f"Caption {EVIL}"):
            assert words in seen["text"]
        assert f"No picture: {EVIL}: no such image" in seen["text"]
        assert seen["wide"] <= seen["width"]
        assert seen["small"] >= 9  # pixels of the smallest letters of a chart
        assert seen["loaded"] == []
        assert seen["scripts"] == 1
        assert [(width, is_complete) for _, width, is_complete in seen["pictures"]] == [(160, True)] * 3
        assert seen["cuts"] == ["inset(0px 0px 0px 50%)", "inset(0px 0px 0px 0%)", "inset(0px 0px 0px 80%)"]
        assert seen["touched"] == "range"  # on the picture itself
        assert "to the left, refined to the right" in seen["label"]
        small, large, again = seen["heights"]  # a double-click enlarges the picture, Escape ends that
        assert large > small == again or seen["width"] == 360
