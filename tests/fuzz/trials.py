"""Tries in child processes, so that a crash or a hang costs one try and not the run."""

import contextlib
import faulthandler
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch

_FORK = multiprocessing.get_context("fork")
_MEMORY_BYTES = 10 << 30
_FAST_FOLDER = Path("/dev/shm")
_LONGEST_MESSAGE = 3000
_DETAILS = 1000


class Outcome(Enum):
    """What became of a try."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DEFECT = "defect"


@dataclass(frozen=True)
class Result:
    """One try.

    Attributes:
        subject: What was tried: the name of a format, say.
        outcome: What became of it.
        detail: The message or the traceback; of an accepted input, what it was in a few words.
    """

    subject: str
    outcome: Outcome
    detail: str = ""


class Trials(Protocol):
    """A kind of tries, each a function of its number alone."""

    per_child: int
    """Tries in one child process."""

    def make(self, number: int, folder: Path) -> Any:
        """Writes the input of a try into a folder."""

    def attempt(self, number: int, folder: Path) -> Result:
        """Makes the input in an empty folder and tries it; any exception is a defect."""

    def subject(self, number: int) -> str:
        """Returns what is tried."""

    def seconds(self, number: int) -> float:
        """Returns how long a try may take."""

    def late(self, number: int) -> Result:
        """Returns what it means that a try took longer."""


def run_trials(trials: Trials, numbers: range) -> Iterator[tuple[int, Result]]:
    """Yields the result of each try, in order."""
    folder = Path(tempfile.mkdtemp(dir=_FAST_FOLDER if os.access(_FAST_FOLDER, os.W_OK) else None))
    left = list(numbers)[::-1]
    try:
        while left:
            own = [left.pop() for _ in range(min(trials.per_child, len(left)))]
            done = 0
            for number, result in _in_child(trials, own, folder):
                yield number, result
                done += 1
            left += own[done:][::-1]  # after a crash, the rest goes to another child
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_child(trials: Trials, numbers: list[int], folder: Path) -> Iterator[tuple[int, Result]]:
    """Yields the results of a child process, up to the try that ends it."""
    receiving, sending = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_work, args=(trials, numbers, folder, sending))
    child.start()
    sending.close()
    try:
        for number in numbers:
            try:
                if not receiving.poll(trials.seconds(number)):
                    yield number, trials.late(number)
                    return
                yield number, receiving.recv()
            except EOFError:
                child.join()
                detail = f"the process died: exit code {child.exitcode}"
                yield number, Result(trials.subject(number), Outcome.DEFECT, detail)
                return
    finally:
        receiving.close()
        _end(child.pid)
        child.join()


def _end(group: int | None) -> None:
    """Kills a child and its own children."""
    with contextlib.suppress(OSError, TypeError):
        os.killpg(group, signal.SIGKILL)  # type: ignore[arg-type]
    with contextlib.suppress(OSError, TypeError):
        os.kill(group, signal.SIGKILL)  # type: ignore[arg-type]


def _work(trials: Trials, numbers: list[int], folder: Path, sending: Connection) -> None:
    """Tries, in a child process, in a group of its own that can be killed as a whole."""
    os.setsid()
    torch.set_num_threads(1)  # the threads that the parent may have computed with are not there any more
    cv2.setNumThreads(0)
    faulthandler.disable()
    silence = os.open(os.devnull, os.O_WRONLY)
    for own in (1, 2):  # libraries' own words about broken input
        os.dup2(silence, own)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error", RuntimeWarning)  # a user would see numpy's in the midst of the output
    for number in numbers:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        sending.send(attempted(trials, number, folder))
    sending.close()
    sys.stdout.flush()
    os._exit(0)  # what the tries left behind is not to be cleaned up


def attempted(trials: Trials, number: int, folder: Path) -> Result:
    """Returns the result of a try in this process, with a detail that can be printed."""
    try:
        result = trials.attempt(number, folder)
    except Exception:
        result = Result(trials.subject(number), Outcome.DEFECT, traceback.format_exc())
    return replace(result, detail=result.detail.encode(errors="backslashreplace").decode())


def refused(subject: str, error: Exception) -> Result:
    """Returns what a refusal is: well done, if its message is one line that can be printed."""
    message = str(error)
    problem = None
    if not message or len(message.splitlines()) != 1:
        problem = f"the message has {len(message.splitlines())} lines"
    elif len(message) > _LONGEST_MESSAGE:
        problem = f"the message has {len(message)} characters"
    elif any(0xD800 <= ord(letter) <= 0xDFFF for letter in message):
        problem = "the message cannot be encoded"
    if problem is None:
        return Result(subject, Outcome.REFUSED, message)
    detail = f"{problem}: {message[:_LONGEST_MESSAGE]!r}\n{traceback.format_exc()[-3000:]}"
    return Result(subject, Outcome.DEFECT, detail)


def put_something_else(path: Path, draw: random.Random) -> None:
    """Puts what is no file, or nothing, in the place of a file."""
    kind = draw.choice(("pipe", "folder", "loop", "broken link", "device", "nothing"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.symlink_to({"loop": path.name, "broken link": "nowhere", "device": "/dev/zero"}[kind])


def signature(detail: str) -> str:
    """Returns what the finds of one defect share: where the traceback ends, and the kind of error."""
    first = "".join(letter for letter in detail.partition(":")[0] if not letter.isdigit())
    errors = re.findall(r"^([\w.]+(?:Error|Exception|Warning|Interrupt|Timeout))\b", detail, re.MULTILINE)
    places = [line.strip() for line in detail.splitlines() if line.strip().startswith("File ")]
    own = [place for place in places if f"{os.sep}hpr{os.sep}" in place and f"{os.sep}fuzzing{os.sep}" not in place]
    kind = errors[-1] if first.startswith("Traceback") and errors else first
    return " ".join([kind, *(own or places)[-1:]])


@dataclass
class Summary:
    """The results of a run.

    Attributes:
        counts: Number of tries by subject and outcome.
        details: Number of accepted and of refused tries by outcome, subject and detail, the first thousand of each.
        defects: The tries of each defect, by signature.
    """

    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    details: dict[tuple[Outcome, str], Counter[str]] = field(default_factory=dict)
    defects: dict[str, list[int]] = field(default_factory=dict)

    def add(self, number: int, result: Result) -> bool:
        """Counts a result; returns whether it is a defect that was not seen before."""
        self.counts[result.subject, result.outcome] += 1
        if result.outcome is not Outcome.DEFECT:
            details = self.details.setdefault((result.outcome, result.subject), Counter())
            if result.detail and len(details) < _DETAILS:
                details[result.detail] += 1
            return False
        known = self.defects.setdefault(f"{result.subject}: {signature(result.detail)}", [])
        known.append(number)
        return len(known) == 1

    @property
    def subjects(self) -> list[str]:
        """What was tried, in the order of the alphabet."""
        return sorted({subject for subject, _ in self.counts})

    def count(self, outcome: Outcome, subject: str | None = None) -> int:
        """Returns the number of tries with an outcome, of one subject or of all."""
        return sum(n for (name, own), n in self.counts.items() if own is outcome and subject in (None, name))

    def as_json(self) -> dict[str, Any]:
        """Returns the content of a result file."""
        counts = {name: {own.value: self.counts[name, own] for own in Outcome} for name in self.subjects}
        details: dict[str, Any] = {own.value: {} for own in Outcome if own is not Outcome.DEFECT}
        for (own, name), values in sorted(self.details.items(), key=lambda item: item[0][1]):
            details[own.value][name] = dict(sorted(values.items()))
        return {"counts": counts, "defects": self.defects, **details}
