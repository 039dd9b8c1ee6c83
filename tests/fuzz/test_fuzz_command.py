"""The command that throws wild input at the project."""

import json
from pathlib import Path

import pytest
from conftest import fail, succeed

from hpr.cli import fuzz
from fuzz.trials import Outcome, Result


class Fate:
    """Tries that are accepted, or, where a defect is wanted, fail now and then."""

    per_child = 10

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def subject(self, number: int) -> str:
        return "one"

    def seconds(self, number: int) -> float:
        return 60

    def late(self, number: int) -> Result:
        return Result("one", Outcome.DEFECT, "it hangs")

    def make(self, number: int, folder: Path) -> None:
        (folder / "input.txt").write_text(f"{number}")

    def attempt(self, number: int, folder: Path) -> Result:
        if self.seed and number % 10 == self.seed:
            raise KeyError("what")
        return Result("one", [Outcome.ACCEPTED, Outcome.REFUSED][number % 2])


@pytest.fixture
def _fate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "FileTrials", Fate)


@pytest.mark.usefixtures("_fate")
def test_all_is_well(tmp_path: Path) -> None:
    printed = succeed("fuzz.py", "what=files", "tries=20", f"output_dir={tmp_path}")
    assert [line.split() for line in printed.split("\n")[:3]] == [
        ["tries", "accepted", "in", "one", "line", "refused", "defect"],
        ["one", "20", "10", "10", "0"],
        ["all", "20", "10", "10", "0"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["files.json"]


@pytest.mark.usefixtures("_fate")
def test_a_defect_is_kept(tmp_path: Path) -> None:
    printed = succeed("fuzz.py", "seed=3", "start=5", "tries=20", f"output_dir={tmp_path}", status=1)
    assert "defect: try 13 (one)" in printed
    assert printed.count("defect: try") == 1  # the next one is the same
    folder = tmp_path / "files_3_13"
    assert (folder / "input" / "input.txt").read_text() == "13"
    assert "KeyError: 'what'" in (folder / "traceback.txt").read_text()
    content = json.loads((tmp_path / "files.json").read_text())
    assert list(content["defects"].values()) == [[13, 23]]
    assert content["counts"]["one"]["defect"] == 2
    assert content["settings"]["start"] == 5


@pytest.mark.parametrize("what", ["files", "images"])
def test_real_tries(what: str, tmp_path: Path) -> None:
    succeed("fuzz.py", f"what={what}", "tries=4", f"output_dir={tmp_path}")
    assert (
        sum(sum(counts.values()) for counts in json.loads((tmp_path / f"{what}.json").read_text())["counts"].values())
        == 4
    )


@pytest.mark.slow
def test_real_settings(tmp_path: Path) -> None:
    succeed("fuzz.py", "what=settings", "tries=7", f"output_dir={tmp_path}")
    content = json.loads((tmp_path / "settings.json").read_text())
    assert {sum(counts.values()) for counts in content["counts"].values()} == {1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("what=all", "what=all: expected one of files, settings, images"),
        ("tries=0", "tries=0: expected 1 or more"),
        ("start=-1", "start=-1: expected 0 or more"),
    ],
)
def test_wrong_settings(setting: str, message: str) -> None:
    assert message in fail("fuzz.py", setting)
