"""Progress in a log and in a terminal."""

import io
import sys
from types import SimpleNamespace

import pytest

from hpr.cli import progress
from hpr.cli.progress import describe_pace, progress_bar, warn


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "seconds", "left", "expected"),
    [
        (0, 10.0, None, "0 people per second"),
        (0, 10.0, 100, "0 people per second"),
        (20, 10.0, 80, "2 people per second, 00:40 left"),
        (20, 10.0, 9980, "2 people per second, 1:23:10 left"),
        (120, 10.0, -20, "12 people per second, 00:00 left"),
        (20, 10.0, None, "2 people per second"),
    ],
)
def test_pace(done: int, seconds: float, left: int | None, expected: str) -> None:
    assert describe_pace("people", done, seconds, left) == expected


def test_lines_in_a_log_come_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    with progress_bar("files", 60, doing="reading") as advance:
        for _ in range(40):
            now += 0.5
            advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "reading: 20 of 60 files, 2 files per second, 00:20 left",
        "reading: 40 of 60 files, 2 files per second, 00:10 left",
    ]


def test_in_a_log_a_line_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """None for short work, and none from a process that shows nothing."""
    for seconds, shown in ((progress.LINE_EVERY, True), (0.0, False), (0.0, True)):
        monkeypatch.setattr(progress, "LINE_EVERY", seconds)
        with progress_bar("people", shown=shown) as advance:
            advance(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 people, ")


def test_in_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("people", 8, doing="refining") as advance:
        advance(2)
    assert "refining:" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn("image 'new\nline.jpg': no such image")
    warn("odd", file=sys.stderr)
    assert capsys.readouterr() == ("warning: image 'new line.jpg': no such image\n", "warning: odd\n")
