"""`hpr --help` and `hpr COMMAND --help`."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT, command, succeed

import hpr
from hpr.cli.app import CONF, setting_names
from hpr.cli.help import read_config
from hpr.cli.main import COMMANDS, WORDS, short_name

LIBRARIES = ("hydra", "omegaconf", "pydantic", "numpy", "torch", "cv2", "tqdm")


def test_commands() -> None:
    """In a process of its own without a word, and by either option."""
    for printed in (command("-m", "hpr").stdout, succeed("--help"), succeed("-h")):
        assert re.findall(r"^  ([\w-]+)  ", printed, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_setting_has_its_comment(name: str) -> None:
    printed = succeed(name, "--help")
    examples, _, settings = printed.partition("\n\n  ")
    words = " ".join(["hpr", name, *map(str.upper, WORDS.get(name, ())), "NAME=VALUE …"])
    assert f"{words}: {COMMANDS[name]}." in examples
    assert re.search(rf"^(hpr|torchrun .*-m hpr) {name}\b", settings, re.MULTILINE), "examples come first"

    entries = re.split(r"\n(?= +[\w.]+=)", printed.partition("\n\nOptions")[0])[1:]
    assert all(re.match(r" +\S+(=\[.*\]|=\{.*\})?\s+\S", entry) for entry in entries), printed
    settings_of_file = read_config(CONF / f"{name.replace('-', '_')}.yaml").settings
    assert all(f" {setting}=" in printed for setting in settings_of_file)


def test_help_is_of_the_real_configuration() -> None:
    from hpr.cli import refine

    names = setting_names(refine.COMMAND, "dataset=auto", "dataset.predictions=FILE")
    printed = succeed("refine", "--help")
    internal = ("dataset.name", "dataset.format")
    for name in map(short_name, names):
        assert name in ("model", "objective", "dataset") or name.startswith(internal) or f" {name}=" in printed, name


def test_help_loads_no_library() -> None:
    """So that it takes a tenth of a second."""
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in LIBRARIES)
    program = f"import sys\n{blocked}from hpr.cli.main import main\nmain(['train', '--help'])"
    result = command("-c", program)
    assert result.returncode == 0, result.stderr


def test_the_version() -> None:
    assert succeed("--version") == f"hpr {hpr.__version__}\n"


@pytest.mark.parametrize(
    "words", ["-m hpr --help", "-m hpr train --help", "-m hpr port --cfg job", "tools/benchmark.py --cfg job"]
)
def test_a_reader_that_has_ended(words: str) -> None:
    """As head does; the program ends without a message."""
    line = f"{sys.executable} {words} | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
