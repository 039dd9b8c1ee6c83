"""Wild settings: a command runs with them, or refuses them in one line."""

import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.trials import Outcome, Result

_SECONDS = 90.0
_SECONDS_OF_LONG_WORK = 6.0
_FINE = (0, 3, 130)
"""Exit statuses of a command that did what it was told (docs/refining.md)."""

_BIG = ("1e9", "1000000000", "9223372036854775807")

_NUMBERS = ("0", "1", "5", "-1", "-5", "0.5", "1.5", "2", "1e-30", "nan", "inf", "-inf", *_BIG, "9" * 30)
_WORDS = ("null", "true", "false", "text", "''", "'ä ü'", "'\u2028'", "x" * 3000, "'a\tb'", "'a b'", "???")
_NESTED = (
    *("[]", "[1]", "[0,0]", "[1.15,0.85]", "[1,2]", "[-1,-1]", "[null]", "[[1,2]]", "[text]", "[1,2,3]", "[32,32]"),
    *("{}", "{a:1}", "{head:2}", "{_target_:text}", "[1000000000,1000000000]"),
)
_PATHS = (
    "text.txt",
    "empty.json",
    "list.json",
    "picture.jpg",
    "folder",
    "no/where",
    "pipe.json",
    "/dev/null/a",
    "a" * 300,
)
_BROKEN = ("${oops}", "${oops:1}", "${", "a=b", "[1,", "{a", "'", "a,b", "$", "1:2", "choice(1,2)", "${.}", "@a", "~")


@dataclass(frozen=True)
class Program:
    """A command whose settings are tried.

    Attributes:
        names: Of its settings.
        elsewhere: Of settings that it has with another choice of a group of settings.
        bases: Settings of short runs, one of which every try begins with.
        run: Runs it with the words of a command line; exits as `main` does.
    """

    names: Sequence[str]
    elsewhere: Sequence[str]
    bases: Sequence[Sequence[str]]
    run: Callable[[Sequence[str]], None]


class SettingTrials:
    """Commands with odd settings, each in a process and a folder of its own."""

    per_child = 1

    def __init__(self, seed: int, programs: dict[str, Program]) -> None:
        """Prepares tries.

        Args:
            seed: Of all draws.
            programs: By name.
        """
        self._seed, self._programs, self._names = seed, programs, sorted(programs)

    def subject(self, number: int) -> str:
        """See `Trials`."""
        return self._names[number % len(self._names)]

    def seconds(self, number: int) -> float:
        """See `Trials`."""
        return _SECONDS_OF_LONG_WORK if self._asks_for_much(number) else _SECONDS

    def late(self, number: int) -> Result:
        """See `Trials`. Who asks for a billion steps has to wait."""
        if self._asks_for_much(number):
            return Result(self.subject(number), Outcome.ACCEPTED, f"{' '.join(self.words(number)[1])} (at work)")
        return Result(self.subject(number), Outcome.DEFECT, f"it hangs: {' '.join(self.words(number)[1])}")

    def _asks_for_much(self, number: int) -> bool:
        much = (*_BIG, "steps=null")  # without a number, training takes one of its own
        return any(part in word for word in self.words(number)[1] for part in much)

    def words(self, number: int) -> tuple[list[str], list[str]]:
        """Returns the plain words of a command line, and the odd ones that follow them."""
        draw = random.Random(f"{self._seed} settings {number}")
        program = self._programs[self.subject(number)]
        base = list(draw.choice(list(program.bases)))
        return base, [_drawn(program, draw) for _ in range(draw.choice((1, 1, 1, 1, 2)))]

    def make(self, number: int, folder: Path) -> list[str]:
        """See `Trials`; returns the command line."""
        base, odd = self.words(number)
        (folder / "command.txt").write_text(f"{self.subject(number)} {' '.join([*base, *odd])}\n")
        for name, content in (("text.txt", "text"), ("empty.json", ""), ("list.json", "[1]"), ("picture.jpg", "no")):
            (folder / name).write_text(content)
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe.json")
        return [*base, *odd]

    def attempt(self, number: int, folder: Path) -> Result:
        """See `Trials`; to be called in a process that nothing else follows in."""
        words, odd = self.make(number, folder), self.words(number)[1]
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f".{name}", os.O_WRONLY | os.O_CREAT), stream)
        # Buffered output of before the fork is not this try's.
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
        try:
            self._programs[self.subject(number)].run(words)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except BaseException:
            status = 1
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        return _judged(self.subject(number), " ".join(odd), status, Path(".stderr").read_text(errors="replace"))


def _judged(subject: str, odd: str, status: int, errors: str) -> Result:
    """Returns what an exit status and the lines of standard error are."""
    lines = [line for line in errors.split("\n") if line]
    if status in _FINE and "Traceback" not in errors:
        return Result(subject, Outcome.ACCEPTED, odd[:200])
    if status == 1 and len(lines) == 1 and re.fullmatch(r"error: .{1,1500}", lines[0]):
        return Result(subject, Outcome.REFUSED, f"{odd[:200]}: {lines[0]}")
    if status == 1 and "Traceback" not in errors:
        problem = f"{len(lines)} lines" if len(lines) != 1 else f"a line of {len(lines[0])} characters"
        return Result(subject, Outcome.DEFECT, f"expected one line: found {problem}: {odd[:200]}\n{errors[-3000:]}")
    return Result(subject, Outcome.DEFECT, f"{errors[-5000:]}\nexit status {status}: {odd[:200]}")


def _drawn(program: Program, draw: random.Random) -> str:
    """Returns an odd word of a command line."""
    kind, name = draw.random(), draw.choice(list(program.names))
    if kind < 0.10:
        name = _misspelt(name, draw)
    elif kind < 0.20 and program.elsewhere:
        name = draw.choice(list(program.elsewhere))
    elif kind < 0.23:
        return draw.choice(
            (name, f"~{name}", f"+{name}={_value(draw)}", f"++{name}={_value(draw)}", "=", "", f"={name}")
        )
    elif kind < 0.26:
        return f"+odd={_value(draw)}"
    return f"{name}={_value(draw)}"


def _value(draw: random.Random) -> str:
    return draw.choice(draw.choice((_NUMBERS, _NUMBERS, _NUMBERS, _WORDS, _NESTED, _PATHS, _BROKEN)))


def _misspelt(name: str, draw: random.Random) -> str:
    place = draw.randrange(len(name))
    return draw.choice(
        (name[:place] + name[place + 1 :], name[:place] + "x" + name[place:], f"{name}.more", f"more.{name}")
    )
