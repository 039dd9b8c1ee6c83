"""What a person types: words without a name, short names, and what is found without being named."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import GOLDEN, fail, succeed

from hpr.cli import app, convert, evaluate, learn_errors, refine, train, visualize
from hpr.models.places import find_weights

IMAGES, SEQUENCE = GOLDEN, GOLDEN / "posetrack18" / "predictions" / "seq_b.json"
DEMO = ["dataset=posetrack18", "model=demo", "device=cpu", "flip=false", "margin=50"]


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


def test_too_many_words() -> None:
    assert "'c': expected POSES IMAGES NAME=VALUE" in fail("refine", "a", "b", "c")
    assert "'a': expected NAME=VALUE; --help" in fail("train", "a")


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


def test_weights_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published ones, in any format of PoseTrack, from any folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = [SEQUENCE, IMAGES, "dataset=posetrack18", "device=cpu", "flip=false", "margin=50"]
    (tmp_path / "hpr").mkdir()
    (tmp_path / "hpr" / "snapshot-515000.safetensors").symlink_to(find_weights("demo"))
    printed = succeed("refine", *words, f"output_dir={tmp_path}/b", cwd=tmp_path)
    assert f"model=auto: the published weights, {tmp_path}/hpr/snapshot-515000.safetensors" in printed


def test_what_an_earlier_run_did_is_not_counted_again(tmp_path: Path) -> None:
    words = [SEQUENCE, IMAGES, *DEMO, f"output_dir={tmp_path}"]
    first, second = succeed("refine", *words), succeed("refine", *words)
    assert "warning: model=demo has seen drawn people alone" in first
    assert ("people per second" in first, "sequence  " in first) == (True, True)
    assert ("people per second" in second, "sequence  " in second) == (False, False)
    assert "1 of 1 file finished by an earlier run, skipped" in second
