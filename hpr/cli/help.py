"""The help of a command, made of the comments in its configuration files, without loading Hydra or PyTorch."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from hpr.cli.main import COMMANDS, WORDS, short_name

_CONF = Path(str(files("hpr.conf")))

_SETTING = re.compile(r"( *)(\w+):(?: +(.*?))?(?: +# (.*))?$")
_DEFAULT = re.compile(r" +- (?:override )?/?(\w+)(?:@(\S+))?: (\w+)(?: +# (.*))?$")
_INCLUDED = re.compile(r" +- /([\w/]+)@_here_$")

_DATASET_SETTINGS = (
    ("root", "predictions", "images", "orientation", "outside", "annotations", "skeleton", "scale"),
    ("root", "scale", "steps", "parts", "validated", "training", "validation"),
)
"""Settings of a data set that most commands use, and those that training uses."""


class Setting(NamedTuple):
    """A setting as a configuration file has it: full name, such as `training.batch_size`, default and comment."""

    name: str
    value: str
    comment: str


class Config(NamedTuple):
    """A configuration file: lines of the comment at its top, its groups of settings, and its settings by full name.

    A group is (group, name in the configuration, default choice, comment).
    """

    header: list[str]
    groups: list[tuple[str, str, str, str]]
    settings: dict[str, Setting]


def read_config(path: Path) -> Config:
    """Returns what a configuration file says, comments included."""
    lines = path.read_text(encoding="utf-8").split("\n")
    header_length = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    config = Config([line.lstrip("# ") for line in lines[:header_length]], [], {})

    groups: list[tuple[int, str, str]] = []  # indentation, name and comment of the groups that the line is in
    comment: list[str] = []
    for line in lines[header_length:]:
        if default := _DEFAULT.match(line):
            group, name, choice, note = default.groups()
            config.groups.append((group, name or group, choice, note or ""))
        elif included := _INCLUDED.match(line):
            config.settings.update(read_config(_CONF / f"{included[1]}.yaml").settings)
        elif line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
        elif setting := _SETTING.match(line):
            indentation, name, value, note = setting.groups()
            groups = [group for group in groups if group[0] < len(indentation)]
            full_name = ".".join([*(group[1] for group in groups), name])
            groups.append((len(indentation), name, note or " ".join(comment) or (groups[-1][2] if groups else "")))
            if value and value[0] not in "&*" and not name.startswith("_"):
                config.settings[full_name] = Setting(full_name, value, groups[-1][2])
            comment = []
        else:
            comment = []
    return config


def command_help(command: str) -> str:
    """Returns the help of the command of a configuration file: examples, then settings with defaults and comments."""
    name, config = command.replace("_", "-"), read_config(_CONF / f"{command}.yaml")
    examples = [line for line in config.header if line.startswith(("hpr ", "torchrun "))]
    words = " ".join(["hpr", name, *map(str.upper, WORDS.get(name, ())), "NAME=VALUE …"])
    lines = [f"{words}: {COMMANDS[name]}.", "", *(f"  {line}" for line in examples), ""]
    if description := [line for line in config.header if line not in examples]:
        lines += [*description, ""]

    lines += _format(_command_settings(command, config))
    if command == "train":
        recipes = {path.stem: read_config(path).header for path in sorted((_CONF / "experiment").glob("*.yaml"))}
        lines += ["", "Recipes: +experiment=NAME"]
        first_sentences = {recipe: " ".join(header[2:]).partition(". ")[0] for recipe, header in recipes.items()}
        lines += _format(Setting(recipe, "", sentence) for recipe, sentence in first_sentences.items())

    options = [
        Setting("--cfg job", "", "print the composed settings and stop"),
        Setting("--config-dir DIR", "", "folder with more choices of groups, such as DIR/pose_errors/mine.yaml"),
    ]
    return "\n".join([*lines, "", "Options", *_format(options)])


def _command_settings(command: str, config: Config) -> Iterator[Setting]:
    """Yields all settings of a command: first its own, then those of each group under a heading."""
    yield from (setting for setting in config.settings.values() if setting.name.partition(".")[0] != "model")
    for group, name, choice, note in config.groups:
        if choice == "null":
            continue
        choices = {path.stem: read_config(path).settings for path in sorted((_CONF / group).glob("*.yaml"))}
        if group == "dataset":
            needed = "validation" if command == "train" else "predictions"
            choices = {stem: own for stem, own in choices.items() if needed in {name.partition(".")[0] for name in own}}
        yield Setting("", "", "")
        yield Setting(f"{name}={choice}", "", f"one of {', '.join(choices)}{f'; {note}' if note else ''}")
        if name != group:
            yield Setting(f"  {name}.*", "", f"as {group}.*")
            continue
        for setting in _group_settings(group, choice, choices):
            if group != "dataset" or setting.name.split(".")[0] in _DATASET_SETTINGS[command == "train"]:
                own = config.settings.get(f"{group}.{setting.name}", setting)
                full_name = f"{group}.{setting.name}"
                shown = full_name if command == "train" else short_name(full_name)
                yield Setting(f"  {shown}", own.value, own.comment)


def _group_settings(group: str, choice: str, choices: dict[str, dict[str, Setting]]) -> Iterator[Setting]:
    """Yields the settings of a group that have a comment in one of its choices, those of the default choice first."""
    for name in dict.fromkeys(name for own in (choices[choice], *choices.values()) for name in own):
        having = [other for other, own in choices.items() if name in own]
        every = [choices[other][name] for other in having]
        value = choices[choice].get(name, every[0]).value
        comment = next((setting.comment for setting in every if setting.comment), "")
        if comment and name not in choices[choice]:
            comment += f" ({group}={', '.join(having[:3])}{' …' if having[3:] else ''})"
        if comment:
            yield Setting(name, value, comment)


def _format(settings: Iterable[Setting]) -> list[str]:
    """Returns lines in two columns: NAME=VALUE, and the comment."""
    width, column = min(shutil.get_terminal_size((120, 24)).columns, 140), 42
    lines = []
    for name, value, comment in settings:
        left = f"  {name}={value}" if value else f"  {name}"
        right = textwrap.wrap(comment, max(width - column, 30), break_long_words=False) or [""]
        if len(left) >= column:
            lines.append(left)
            left = ""
        lines += [f"{left if index == 0 else '':<{column}}{line}".rstrip() for index, line in enumerate(right)]
    return lines
