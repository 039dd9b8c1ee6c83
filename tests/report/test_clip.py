"""Clips that a browser plays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, opened
from conftest import frames_of, full_disk

from hpr.errors import UserError
from hpr.images import Image
from hpr.report import clip
from hpr.report.clip import write_clip
from hpr.video import Video

RED, BLUE = (200, 40, 30), (30, 60, 200)


def plain(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def test_no_picture_no_file(tmp_path: Path) -> None:
    assert write_clip([], 25, tmp_path / "a.webm") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(64, 48, (48, 64)), (65, 49, (50, 66)), (1, 1, (8, 8))],
    ids=["even", "odd", "one pixel"],
)
def test_what_was_written_is_read(
    width: int, height: int, expected: tuple[int, int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """WebM with VP8, which browsers play; neither OpenCV nor FFmpeg print anything."""
    colours = [RED, BLUE, RED]
    assert write_clip((plain(colour, width, height) for colour in colours), 12.5, tmp_path / "a.webm") == 3
    frames = frames_of(tmp_path / "a.webm")
    assert [frame.shape[:2] for frame in frames] == [expected] * 3
    for frame, colour in zip(frames, colours, strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=12)
    assert Video(tmp_path / "a.webm").frame_rate == pytest.approx(12.5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]
    assert b"webm" in (tmp_path / "a.webm").read_bytes()[:64]
    assert b"V_VP8" in (tmp_path / "a.webm").read_bytes()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("codecs", "expected"),
    [
        ({".mp4": "avc1", ".webm": "VP80"}, None),
        ({".mp4": "mp4v", ".webm": "VP80"}, ".mp4"),  # as if this were H.264
        ({".mp4": "none", ".webm": "VP80"}, ".webm"),
    ],
    ids=["as installed", "mp4", "no mp4"],
)
def test_mp4_where_opencv_can(
    codecs: dict[str, str],
    expected: str | None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clip, "_CODECS", codecs)
    clip.clip_ending.cache_clear()
    ending = clip.clip_ending()
    clip.clip_ending.cache_clear()
    assert ending in (".mp4", ".webm")
    assert expected in (ending, None)
    assert write_clip([plain(RED), plain(BLUE)], 25, tmp_path / f"a{ending}") == 2
    assert len(frames_of(tmp_path / f"a{ending}")) == 2
    assert capfd.readouterr() == ("", "")


@needs_browser
def test_chromium_plays_it(tmp_path: Path) -> None:
    """A page is not loaded before the first frame of a video in it; 4 is HAVE_ENOUGH_DATA."""
    write_clip([plain(RED)] * 5, 25, tmp_path / "a.webm")
    look = "const v = document.querySelector('video'); document.title = [v.videoWidth, v.videoHeight, v.readyState]"
    page = tmp_path / "page.html"
    page.write_text(f"<video src=a.webm preload=auto></video><script>onload = () => {{ {look} }}</script>")
    assert "<title>64,48,4</title>" in opened(page, tmp_path).stdout


def test_pictures_of_another_size(tmp_path: Path) -> None:
    write_clip([plain(RED), plain(BLUE, 31, 77)], 25, tmp_path / "a.webm")
    assert [frame.shape for frame in frames_of(tmp_path / "a.webm")] == [(48, 64, 3)] * 2


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_text("the clip of an earlier run")

    def pictures() -> Iterator[Image]:
        yield plain(RED)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clip(pictures(), 25, tmp_path / "a.webm")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the clip of an earlier run"]


def test_full_disk(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 240, 320, 3), np.uint8)
    with full_disk(20_000), pytest.raises(UserError, match="cannot be written"):
        write_clip(noise, 25, tmp_path / "a.webm")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_clip([plain(RED)], 25, tmp_path / "file" / "a.webm")


def test_too_large_for_the_codec(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.webm: OpenCV cannot write this clip \(VP80, 20000 × 48 pixels"):
        write_clip([plain(RED, 20_000)], 25, tmp_path / "a.webm")
    assert list(tmp_path.iterdir()) == []
