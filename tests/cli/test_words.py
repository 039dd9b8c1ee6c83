"""What a person types: words without a name, short names, and what is found without being named."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import fail

from hpr.cli import app, convert, evaluate, learn_errors, refine, train, visualize


@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        (refine.COMMAND, ["a=b.json", "pictures"], ["dataset.predictions='a=b.json'", "dataset.images=pictures"]),
        (
            refine.COMMAND,
            ["poses=p", "skeleton=coco17", "dataset=coco"],
            ["p", "dataset.skeleton=coco17", "dataset=coco"],
        ),
        (refine.COMMAND, ["p", "dataset=coco", "annotations=a"], ["dataset=coco", "p", "dataset.annotations=a"]),
        (evaluate.COMMAND, ["a", "b"], ["dataset.predictions=a", "dataset.annotations=b"]),
        (learn_errors.COMMAND, ["a", "b"], ["poses=a", "annotations=b"]),
        (convert.COMMAND, ["a", "format=coco", "b"], ["poses=a", "output=b", "format=coco"]),
        (visualize.COMMAND, ["a", "[b,c]"], ["poses=a", "images='[b,c]'"]),
    ],
)
def test_words_are_settings(
    command: Any, words: list[str], named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b.json").touch()
    assert app.compose(command, *words) == app.compose(command, *named)


def test_the_last_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "output/train/" in fail("train", "resume=true", cwd=tmp_path)  # there is none
    for time, name in enumerate(("2", "1")):
        folder = Path("output/train") / name
        folder.mkdir(parents=True)
        (folder / "last.pt").touch()
        os.utime(folder / "last.pt", (time, time))
    assert train.complete_overrides(["resume=true"]) == ["resume=true", "output_dir=output/train/1"]
    assert train.complete_overrides(["resume=true", "output_dir=a"]) == ["resume=true", "output_dir=a"]
    assert train.complete_overrides([]) == []
