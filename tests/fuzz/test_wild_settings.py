"""Wild settings: what a command does with them is judged by its exit status and its lines of errors."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fuzz.settings import Program, SettingTrials
from fuzz.trials import Outcome, run_trials


def ends(words: Sequence[str]) -> None:
    assert words[0] == "base=1"
    assert Path("text.txt").read_text() == "text"  # in a folder of its own


def refuses(words: Sequence[str]) -> None:
    print("error: expected that, found this", file=sys.stderr)
    sys.exit(1)


def refuses_at_length(words: Sequence[str]) -> None:
    print("error: expected that\nfound this", file=sys.stderr)
    sys.exit(1)


def refuses_without_a_word(words: Sequence[str]) -> None:
    sys.exit(1)


def fails(words: Sequence[str]) -> None:
    raise KeyError(words[1])


def fails_in_a_thread(words: Sequence[str]) -> None:
    print("Traceback (most recent call last):\nKeyError", file=sys.stderr)


def stops(words: Sequence[str]) -> None:
    sys.exit(130)


def exits_oddly(words: Sequence[str]) -> None:
    sys.exit(2)


def dies(words: Sequence[str]) -> None:
    os.abort()


@pytest.mark.parametrize(
    ("run", "outcome", "words"),
    [
        (ends, Outcome.ACCEPTED, "="),
        (refuses, Outcome.REFUSED, "error: expected that, found this"),
        (refuses_at_length, Outcome.DEFECT, "expected one line: found 2 lines"),
        (refuses_without_a_word, Outcome.DEFECT, "expected one line: found 0 lines"),
        (fails, Outcome.DEFECT, "KeyError"),
        (fails_in_a_thread, Outcome.DEFECT, "exit status 0"),
        (stops, Outcome.ACCEPTED, "="),
        (exits_oddly, Outcome.DEFECT, "exit status 2"),
        (dies, Outcome.DEFECT, "the process died"),
    ],
)
def test_what_a_command_does_is_judged(run: Callable[[Sequence[str]], None], outcome: Outcome, words: str) -> None:
    trials = SettingTrials(0, {"train": Program(["seed"], [], [["base=1"]], run)})
    found = [result for _, result in run_trials(trials, range(1, 3))]
    assert [result.outcome for result in found] == [outcome] * 2
    assert words in found[0].detail


def test_a_try_is_a_function_of_its_number() -> None:
    programs = {name: Program(["a", "b.c"], ["b.d"], [["base=1"], ["base=2"]], ends) for name in ("one", "two")}
    one, other = SettingTrials(0, programs), SettingTrials(0, programs)
    assert [one.words(number) for number in range(50)] == [other.words(number) for number in range(50)]
    assert one.words(3) != SettingTrials(1, programs).words(3)
    assert Counter(one.subject(number) for number in range(50)) == {"one": 25, "two": 25}


def test_words_are_of_all_kinds() -> None:
    trials = SettingTrials(0, {"one": Program(["size", "b.c"], ["b.d"], [[]], ends)})
    odd = [word for number in range(500) for word in trials.words(number)[1]]
    for wanted in ("size=null", "b.c=", "b.d=", "+odd=", "~", "=[", "={", "1e9", "nan", "more.", "folder", "siz="):
        assert any(wanted in word for word in odd), wanted


def test_long_work_is_no_hang() -> None:
    trials = SettingTrials(0, {"one": Program(["steps"], [], [[]], ends)})
    much = [number for number in range(200) if "1000000000" in " ".join(trials.words(number)[1])]
    assert trials.late(much[0]).outcome is Outcome.ACCEPTED
    assert trials.seconds(much[0]) < 10
    little = [number for number in range(200) if trials.words(number)[1] == ["steps=5"]]
    assert trials.late(little[0]).outcome is Outcome.DEFECT
    assert trials.seconds(little[0]) > 10
