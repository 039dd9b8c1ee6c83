"""Tries in child processes: crashes and hangs cost one try, and every defect is seen."""

import os
import time
from pathlib import Path

import pytest

from hpr.errors import UserError
from fuzz.trials import Outcome, Result, Summary, attempted, refused, run_trials, signature


class Misfortunes:
    """Each try meets another fate."""

    per_child = 3

    def subject(self, number: int) -> str:
        return "even" if number % 2 == 0 else "odd"

    def seconds(self, number: int) -> float:
        return 5 if number != 3 else 0.3

    def late(self, number: int) -> Result:
        return Result(self.subject(number), Outcome.DEFECT, "it hangs")

    def make(self, number: int, folder: Path) -> None:
        (folder / "input").write_text(str(number))

    def attempt(self, number: int, folder: Path) -> Result:
        assert not list(folder.iterdir())
        self.make(number, folder)
        if number == 1:
            os.abort()
        if number == 3:
            time.sleep(100)
        if number == 4:
            raise ValueError("\ud800")
        if number == 5:
            return refused(self.subject(number), UserError("a.json: expected that, found this"))
        return Result(self.subject(number), Outcome.ACCEPTED)


def test_every_try_has_a_result() -> None:
    results = dict(run_trials(Misfortunes(), range(8)))
    assert list(results) == list(range(8))
    accepted, defect, refusal = Outcome.ACCEPTED, Outcome.DEFECT, Outcome.REFUSED
    outcomes = [accepted, defect, accepted, defect, defect, refusal, accepted, accepted]
    assert [result.outcome for result in results.values()] == outcomes
    assert results[1].detail == "the process died: exit code -6"
    assert results[3].detail == "it hangs"
    assert results[4].detail.endswith("ValueError: \\ud800\n")


def test_no_tries() -> None:
    assert list(run_trials(Misfortunes(), range(0))) == []


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        pytest.param("", "the message has 0 lines", id="nothing"),
        pytest.param("a.json: no such file", None, id="one line"),
        pytest.param("found a\nb", "the message has 2 lines", id="two lines"),
        pytest.param("found a\u2028b", "the message has 2 lines", id="Unicode's own line end"),
        pytest.param("x" * 4000, "the message has 4000 characters", id="long"),
        pytest.param("found \ud800", "the message cannot be encoded", id="half a character"),
    ],
)
def test_refusals_are_one_line(message: str, problem: str | None) -> None:
    result = refused("a", ValueError(message))
    assert result.outcome is (Outcome.REFUSED if problem is None else Outcome.DEFECT)
    assert result.detail.startswith(problem or message)


def test_one_defect_is_kept_once(tmp_path: Path) -> None:
    summary = Summary()
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        folder.mkdir()
    results = [attempted(Misfortunes(), 4, folder) for folder in folders]
    assert [summary.add(number, result) for number, result in enumerate(results)] == [True, False]
    assert summary.add(2, Result("odd", Outcome.DEFECT, "it hangs"))
    assert not summary.add(3, Result("odd", Outcome.ACCEPTED, "a=b"))
    assert list(summary.defects.values()) == [[0, 1], [2]]
    assert not summary.add(4, Result("odd", Outcome.REFUSED, "expected that"))
    assert summary.as_json()["accepted"] == {"odd": {"a=b": 1}}
    assert summary.as_json()["counts"]["odd"] == {"accepted": 1, "refused": 1, "defect": 1}
    assert summary.as_json()["refused"] == {"odd": {"expected that": 1}}
    assert summary.count(Outcome.DEFECT) == 3


def test_signature_is_the_place_in_the_project() -> None:
    trace = (
        'Traceback (most recent call last):\n  File "/a/hpr/formats/b.py", line 3, in read\n    x = 1\n'
        '  File "/usr/lib/json.py", line 5, in loads\n    y\nKeyError: 3\n'
    )
    assert signature(trace) == 'KeyError File "/a/hpr/formats/b.py", line 3, in read'
    assert signature("lost pose: 3 became 4") == signature("lost pose: 5 became 6")
