"""Wild settings: a command runs with them, or refuses them in one line."""

import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from strategies import try_often

from hpr.cli import app
from hpr.cli.main import COMMANDS, main
from hpr.formats import PoseTrack18

FINE = (0, 3, 130)
"""Exit statuses of a command that did what it was told (docs/reliability.md)."""

BIG = ("1e9", "1000000000", "9223372036854775807")
NUMBERS = (*BIG, *["0", "1", "5", "-1", "-5", "0.5", "1.5", "2", "1e-30", "nan", "inf", "-inf"], "9" * 30)
TEXTS = ("null", "true", "text", "''", "'ä ü'", "'\u2028'", "x" * 3000, "'a\tb'", "???", "${oops}", "'a b'", "a" * 300)
WORDS = (
    "[] [1] [0,0] [1.15,0.85] [-1,-1] [null] [[1,2]] [text] {} {a:1} {head:2} {_target_:text} [1000000000,1000000000]"
)
FILES = "text.txt empty.json list.json picture.jpg folder no/where pipe.json /dev/null/a"
BROKEN = "${oops:1} ${ a=b [1, {a ' a,b $ 1:2 choice(1,2) ${.}"
VALUES = st.sampled_from((*NUMBERS, *TEXTS, *WORDS.split(), *FILES.split(), *BROKEN.split()))


@st.composite
def odd_words(draw: st.DrawFn, names: list[str]) -> list[str]:
    """One or two odd words of a command line."""

    def odd_word() -> str:
        name, value = draw(st.sampled_from(names)), draw(VALUES)
        unknown = [f"{name}x={value}", f"{name[1:]}={value}", f"{name}.more={value}", f"more.{name}={value}"]
        broken = [name, f"~{name}", f"+{name}={value}", f"+odd={value}", "=", "", f"={name}"]
        return draw(st.sampled_from([*[f"{name}={value}"] * 8, *unknown, *broken]))

    return [odd_word() for _ in range(draw(st.sampled_from((1, 1, 1, 2))))]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Short runs of all commands, on two frames of the bundled sample."""
    folder, sample = tmp_path_factory.mktemp("data"), app.ASSETS / "sample"
    clip = sorted((sample / "predictions").glob("*.json"))[0].name
    for kind in ("predictions", "annotations"):
        (folder / kind).mkdir()
        (whole,) = PoseTrack18().read(sample / kind / clip)
        frames = [frame.select(np.arange(len(frame)) < 1) for frame in whole.frames[:2]]
        PoseTrack18().write([replace(whole, frames=frames, original=None)], folder / kind / clip)
    both = [f"dataset.predictions={folder}/predictions", f"dataset.annotations={folder}/annotations"]
    own = ["dataset=posetrack18", f"dataset.root={sample}"]
    once = ["canvas=[64,64]", "training.steps=1", "training.batch_size=1", "training.num_workers=0", "device=cpu"]
    return {
        "refine": [*own, "model=demo", "flip=false", "device=cpu", *both],
        "train": [*once, "dataset.validation.clips=1", "dataset.validation.frames=1"],
        "evaluate": both,
        "convert": [f"input={folder}/predictions", "format=npz", "output=converted"],
        "port": ["checkpoint=text.txt"],
        "visualize": [f"poses={folder}/predictions", f"images={sample}"],
        "export": ["model=demo", "size=[64,64]"],
        "learn-errors": both,
        "make-sample": ["output_dir=drawn", "clips=1", "frames=1", "width=64", "height=64"],
    }


def work(run: Callable[[], object], folder: Path) -> None:
    """Runs a command in a group of processes of its own, which can be killed as a whole."""
    os.setsid()
    os.chdir(folder)
    torch.set_num_threads(1)  # the threads that the parent may have computed with are not there any more
    cv2.setNumThreads(0)
    for stream, name in ((1, ".stdout"), (2, ".stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    run()


def judge(run: Callable[[], object], words: list[str]) -> str:
    """Runs a command in a folder with odd files; returns whether it "ran" or "refused"."""
    asks_for_much = any(part in word for word in words for part in (*BIG, "steps=null"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in (("text.txt", "text"), ("empty.json", ""), ("list.json", "[1]"), ("picture.jpg", "no")):
            (folder / file).write_text(content)
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe.json")

        child = multiprocessing.get_context("fork").Process(target=work, args=(run, folder))
        child.start()
        child.join(6 if asks_for_much else 50)
        status = child.exitcode
        with suppress(OSError, TypeError):
            os.killpg(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        child.join()
        errors = (folder / ".stderr").read_text(errors="replace")

    found = f"{' '.join(words)[:500]}: exit status {status}\n{errors[-3000:]}"
    assert status is not None or asks_for_much, found
    assert status in (None, 1, *FINE), found
    assert "Traceback" not in errors, found
    if status == 1:
        assert re.fullmatch(r"error: .{1,1500}", errors.strip()), f"expected one line: {found}"
    return "refused" if status == 1 else "ran"


@pytest.mark.parametrize("name", COMMANDS)
def test_settings_are_accepted_or_refused(name: str, bases: dict[str, list[str]]) -> None:
    command = import_module(f"hpr.cli.{name.replace('-', '_')}").COMMAND
    names = app.setting_names(command, *bases[name])

    def attempt(words: list[str]) -> str:
        return judge(partial(main, [name, *bases[name], *words]), words)

    try_often(attempt, 4, words=odd_words(names))


def ends(status: int, words: str = "") -> None:
    print(words, file=sys.stderr)
    sys.exit(status)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (partial(ends, 0), "ran"),
        (partial(ends, 1, "error: expected that, found this"), "refused"),
        (partial(ends, 1, "error: expected that\nfound this"), "expected one line"),
        (partial(ends, 1), "expected one line"),
        (partial(ends, 0, "Traceback (most recent call last):\nKeyError"), "Traceback"),  # in a thread
        (partial(ends, 2), "exit status 2"),
        (partial(getattr, None, "no"), "Traceback"),
        (os.abort, "exit status -6"),
    ],
)
def test_what_a_broken_command_does_is_found(run: Callable[[], object], expected: str) -> None:
    with nullcontext() if expected in ("ran", "refused") else pytest.raises(AssertionError, match=expected):
        assert judge(run, []) == expected
