"""From the words of a command line to a running command: Hydra composes, pydantic checks, errors come out in one line.

This is the only module that knows Hydra.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, get_args

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from hpr.cli.components import MAX_VALUE, describe_problem
from hpr.cli.main import SHORT, WORDS, short_name
from hpr.errors import UserError
from hpr.models.places import ASSETS

CONF = Path(str(files("hpr.conf")))
"""The folder of the configuration files."""

# ${asset:NAME} in a configuration is a file or folder that comes with the package.
OmegaConf.register_new_resolver("asset", lambda name: str(ASSETS / name), replace=True)

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """What a user can run.

    Attributes:
        config: Name of the YAML file in conf/ with the settings' defaults, without its ending.
        settings: Type that the composed configuration is checked against.
        run: Does the work; returns the exit status, None for 0.
        folder: Where the YAML file is if it is not in conf/.
        complete: Adds overrides that follow from those that the user gave.
    """

    config: str
    settings: type[Settings]
    run: Callable[[Settings], int | None]
    folder: Path | None = None
    complete: Callable[[Sequence[str]], list[str]] = list


def main(command: Command[Any], words: Sequence[str]) -> int:
    """Runs a command and returns its exit status; an error is printed in one line, and its status is 1.

    Args:
        command: What to run.
        words: NAME=VALUE overrides and values of `WORDS`, `--config-dir DIR` and `--cfg job`, in any order.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--cfg", choices=["job"])
    parser.add_argument("--config-dir", type=Path)
    try:
        options, overrides = parser.parse_known_args(words)
        composed = _compose(command, command.complete(_named(command, overrides)), options.config_dir)
        if options.cfg:
            print(OmegaConf.to_yaml(composed), end="")
            return 0
        return command.run(_validate(command, composed)) or 0
    except KeyboardInterrupt:
        return 130  # the status that shells report for Ctrl-C
    except Exception as error:
        message = _message_for_user(error)
        if message is None:
            raise
        print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
        return 1


def _message_for_user(error: Exception) -> str | None:
    """Returns what is wrong and what to do; None where it is not for the user to mend, but a defect of hpr."""
    if isinstance(error, UserError | argparse.ArgumentError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{str(error.filename)[:MAX_VALUE]}: {error.strerror}"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the latter is what PyTorch says
        return "there is not enough memory; smaller crops or batches, or fewer workers, need less"
    return None


def compose(command: Command[Settings], *overrides: str) -> Settings:
    """Returns a command's checked settings.

    Raises:
        UserError: There is no such setting, or its value is not allowed.
    """
    return _validate(command, _compose(command, _named(command, overrides)))


def _named(command: Command[Any], words: Sequence[str]) -> list[str]:
    """Returns the words of a command line as NAME=VALUE with the full names of settings."""
    settings = WORDS.get(command.config.replace("_", "-"), ())
    has_dataset = "dataset" in command.settings.model_fields
    named, values = [], []
    for word in words:
        name, equals, value = word.partition("=")
        is_option = not equals and (word.startswith("-") or re.fullmatch(r"~[\w.]+", word) is not None)
        if (not equals and not is_option) or os.path.lexists(word):
            values.append(word)
        else:
            named.append(f"{SHORT[name]}={value}" if has_dataset and name in SHORT else word)

    if len(values) > len(settings):
        expected = f"expected {' '.join([*map(str.upper, settings), 'NAME=VALUE'])}"
        raise UserError(f"'{values[len(settings)]}': {expected}; --help lists the settings")
    names = [SHORT[name] if has_dataset else name for name in settings]
    return [*named, *(f"{name}={_quoted(value)}" for name, value in zip(names, values, strict=False))]


def setting_names(command: Command[Any], *overrides: str) -> list[str]:
    """Returns the names of all settings of a command's composed configuration, groups of settings included."""

    def flatten(content: Any, prefix: str = "") -> Iterator[str]:
        for key, value in content.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from flatten(value, f"{prefix}{key}.")

    return list(flatten(OmegaConf.to_container(_compose(command, overrides))))


def _compose(command: Command[Any], overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """Returns the configuration of a command with some words of the command line."""
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    others = ["pkg://hpr.conf"] if command.folder else []
    others += [str(config_dir.absolute())] if config_dir else []
    search_path = f"hydra.searchpath=[{','.join(map(_quoted, others))}]"
    words = [_as_typed(word, command.settings) for word in overrides]
    try:
        with hydra.initialize_config_dir(str((command.folder or CONF).absolute()), version_base="1.3"):
            return hydra.compose(command.config, [search_path, *words])
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError) as error:
        raise UserError(_explain(error, command, overrides)) from None


def _as_typed(word: str, settings: type[BaseModel]) -> str:
    """Returns a word of the command line with its value quoted for Hydra where it is meant as it was typed.

    That is a value that Hydra cannot parse, several values with commas, one that names a file or folder, and a text
    that looks like a number. A leading ~/, which shells leave as it is here, is the home folder.
    """
    name, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"\+{0,2}[\w./@:-]+", name, re.ASCII):
        return word
    kinds = _kinds(settings, name.lstrip("+"))
    if str in kinds and value.startswith("~/") and not os.path.lexists(value):
        value = str(Path.home() / value[2:])

    try:
        override = OverridesParser.create().parse_override(f"{name}={value}")
        is_plain, parsed = not override.is_sweep_override(), override.value()
    except HydraException:
        is_plain, parsed = False, None
    if is_plain and os.path.lexists(value):
        is_plain = not isinstance(parsed, str) and str not in kinds
    elif is_plain and str in kinds:
        items = parsed if isinstance(parsed, list) and list[str] in kinds else [parsed]
        is_plain = parsed is None or all(isinstance(item, str) for item in items)
    if is_plain:
        return f"{name}={value}"
    if list[str] in kinds and re.fullmatch(r"\[.*\]", value, re.DOTALL) and not os.path.lexists(value):
        return f"{name}=[{','.join(map(_quoted, value[1:-1].split(',')))}]"
    return f"{name}={_quoted(value)}"


def _kinds(settings: type[BaseModel], name: str) -> tuple[Any, ...]:
    """Returns the types that a setting can have; nothing where they are not known."""
    kind: Any = settings
    for part in name.split("."):
        if part not in getattr(kind, "model_fields", {}):
            return ()
        kind = kind.model_fields[part].annotation
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _quoted(text: str) -> str:
    """Returns a text as Hydra and OmegaConf take it literally."""
    for special in (r"\$\{", "'"):  # backslashes are doubled where they would escape something
        text = re.sub(rf"(\\*)({special})", r"\1\1\\\2", text)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"


def _explain(error: Exception, command: Command[Any], overrides: Sequence[str]) -> str:
    """Returns one line that says which word of a command line is wrong, and what to do."""
    if isinstance(error, OverrideParseException):
        return f"'{error.override}': expected NAME=VALUE; --help lists the settings"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such {group}; expected one of {', '.join(error.options)}"

    unknown = getattr(error.__cause__, "full_key", None)
    if not isinstance(error, ConfigCompositionException) or not unknown:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        is_known = isinstance(error, HydraException | OmegaConfBaseException)
        return reason if is_known else f"{reason}; expected one name for a group of settings, such as dataset=sample"

    typed = {word.lstrip("+~").partition("=")[0]: word for word in overrides}
    unknown = next((name for name in typed if name.startswith(f"{unknown}.")), unknown)
    choices = [word for name, word in typed.items() if (CONF / name.partition("@")[0]).is_dir()]
    names = setting_names(command, *choices)
    if unknown in names:
        return f"{unknown}: the value is not of the type that this setting has; --cfg job shows its default"
    close = difflib.get_close_matches(unknown, names, n=1)
    return f"there is no setting '{unknown}'; {f'did you mean {close[0]}?' if close else '--help lists the settings'}"


def _validate(command: Command[Settings], composed: DictConfig) -> Settings:
    """Returns composed settings as the command's type."""

    def without_missing(content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {key: without_missing(value) for key, value in content.items() if value != "???"}

    try:
        content = OmegaConf.to_container(composed, resolve=True)
        return command.settings.model_validate(without_missing(content))
    except ValidationError as error:
        raise UserError(describe_problem(error)) from None
    except InterpolationToMissingValueError as error:
        missing = short_name(str(error).split("\n")[0].rpartition(" ")[2])
        raise UserError(f"{missing} is not set; add {missing}=VALUE to the command") from None
    except OmegaConfBaseException as error:
        raise UserError(str(error).split("\n")[0]) from None
