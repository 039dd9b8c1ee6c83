"""From a command line to a command: Hydra composes the settings, pydantic checks them, errors come out as one line."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from hpr.errors import UserError

ASSETS = Path(__file__).resolve().parents[1] / "assets"
"""The demo's weights and sample."""

_CONFIGS = "hpr.conf"

# ${asset:NAME} in a configuration is a file or folder that comes with the package.
OmegaConf.register_new_resolver("asset", lambda name: str(ASSETS / name), replace=True)

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """What a user can run.

    Attributes:
        config: A file in conf/, without its ending.
        settings: What the composed configuration has to be.
        run: Does the work and prints.
        status: Exit status for what `run` returned.
        completed: Adds to the words of a command line what goes without saying.
    """

    config: str
    settings: type[Settings]
    run: Callable[[Settings], Any]
    status: Callable[[Any], int] = lambda result: 0
    completed: Callable[[Sequence[str]], list[str]] = list


def main(command: Command[Any]) -> None:
    """Runs a command with the settings of the command line; ends the program with status 1 and one line on errors."""
    composed: list[DictConfig] = []
    sys.argv[1:] = command.completed(sys.argv[1:])

    def checked(cfg: DictConfig) -> None:
        composed.append(cfg)
        with _one_line_errors(command):
            sys.exit(command.status(command.run(_validated(command, cfg))))

    # With this set, Hydra raises its errors instead of printing them over several lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with _one_line_errors(command):
            hydra.main(version_base="1.3", config_path=f"pkg://{_CONFIGS}", config_name=command.config)(checked)()
    except (ValueError, TypeError, AssertionError) as error:
        if composed:  # a defect of ours, with a traceback to find it by
            raise
        _fail(f"{_first_line(error)}; expected one name for a group of settings, such as dataset=sample")
    except BrokenPipeError:  # the reader of the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)  # as shells report a command stopped by Ctrl-C


def compose(command: Command[Settings], *overrides: str) -> Settings:
    """Returns a command's settings for some words of a command line.

    Raises:
        UserError: There is no such setting, or its value is not allowed.
    """
    try:
        with hydra.initialize_config_module(_CONFIGS, version_base="1.3"):
            return _validated(command, hydra.compose(command.config, list(overrides)))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_explained(error, command, overrides)) from None


def build(name: str, node: dict[str, Any], **arguments: Any) -> Any:
    """Builds what a configuration node with a `_target_` describes.

    Args:
        name: Of the setting, for messages.
        node: The node.
        **arguments: For the constructor, besides those in the node.

    Raises:
        UserError: An argument is unknown or its value is not allowed, or there is no such target.
    """
    _check_targets(name, {"_target_": None, **node})
    try:
        return hydra.utils.instantiate(node, _convert_="object", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ValidationError):
            inner = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
            whole = f"{name}.{inner[1]}" if inner else name
            raise UserError(_first_problem(error.__cause__, whole)) from None
        if not node["_target_"].startswith("hpr.") or isinstance(error.__cause__, ImportError | AttributeError):
            reason = " ".join(str(error.__cause__ or error).split())[:_LONGEST_REASON]
            raise UserError(f"{name}: {node['_target_'][:_LONGEST_VALUE]} cannot be made ({reason})") from None
        raise


def _check_targets(name: str, node: dict[str, Any]) -> None:
    """Refuses what Hydra would stop at with a traceback, in a node or in those within it."""
    if "_target_" in node and not isinstance(node["_target_"], str):
        raise UserError(f"{name}._target_={_as_typed(node['_target_'])}: expected the name of a class")
    if not isinstance(node.get("_partial_", True), bool):
        raise UserError(f"{name}._partial_={_as_typed(node['_partial_'])}: expected true or false")
    for key, value in node.items():
        if isinstance(value, dict):
            _check_targets(f"{name}.{key}", value)


@contextmanager
def _one_line_errors(command: Command[Any]) -> Iterator[None]:
    """Ends the program with one line where an error is a user's to mend."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error, InstantiationException):  # a defect of ours, with a traceback to find it by
            raise
        _fail(_explained(error, command, sys.argv[1:]))
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{str(error.filename)[:_LONGEST_VALUE]}: {error.strerror}")
    except MemoryError:
        _fail("there is not enough memory; smaller crops or batches, or fewer workers, need less")
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # PyTorch's words, where it has no error of its own for it
            raise
        _fail("there is not enough memory; smaller crops or batches, or fewer workers, need less")


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(1)


def _validated(command: Command[Settings], cfg: DictConfig) -> Settings:
    """Returns composed settings, checked."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    try:
        return command.settings.model_validate(_given(content))
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


def _given(content: dict[Any, Any]) -> dict[Any, Any]:
    """Returns settings without those that have no value yet, which a configuration marks by ???."""
    return {
        key: _given(value) if isinstance(value, dict) else value for key, value in content.items() if value != "???"
    }


_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "list_type": "a list",
    "is_instance_of": "{class}",
    "dict_type": "a group of settings",
    "model_type": "a group of settings",
    "literal_error": "one of {expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "{min_length} or more values",
    "too_long": "{max_length} values or fewer",
}
"""What is allowed, by pydantic's type of error; others come with pydantic's own words."""


_OF_A_UNION = re.compile(r"str|list\[.*\]|is-instance\[.*\]")
"""What pydantic adds to a setting's name where several types are allowed."""


def _first_problem(error: ValidationError, prefix: str = "") -> str:
    """Returns what is wrong with the first setting that is wrong."""
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"] if not _OF_A_UNION.fullmatch(str(part))]
    name = ".".join([*filter(None, [prefix]), *parts])
    if problem["type"] in ("missing", "missing_argument"):
        return f"{name} is not set; add {name}=VALUE to the command"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"there is no setting '{name}'; --cfg job lists all settings"
    context = {key: _allowed(value) for key, value in problem.get("ctx", {}).items()}
    if "class" in context:
        is_list = context["class"] == "Sequence"
        context["class"] = "a list" if is_list else f"a group of settings that makes a {context['class']}"
    expected = _EXPECTED.get(problem["type"], problem["msg"]).format(**context)
    return f"{name}={_as_typed(problem['input'])}: expected {expected}"


def _allowed(value: object) -> str:
    """Returns a bound as a short number, or a list of choices without quotes."""
    return f"{value:g}" if isinstance(value, float) else str(value).replace("'", "").replace(" or ", ", ")


def _as_typed(value: object) -> str:
    """Returns a value as one types it in a command."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


_LONGEST_VALUE, _LONGEST_REASON = 80, 300
"""Characters of a value, and of other programs' words, in a message."""


def _explained(error: Exception, command: Command[Any], words: Sequence[str]) -> str:
    """Returns one line that says what is wrong with a word of the command line and what to do."""
    if isinstance(error, OverrideParseException):
        return f"'{error.override}': expected NAME=VALUE; --help lists the settings"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such {group}; expected one of {', '.join(error.options)}"
    unknown = getattr(error.__cause__, "full_key", None)
    if isinstance(error, ConfigCompositionException) and unknown:
        return _unknown(unknown, command, words)
    if isinstance(error, InterpolationToMissingValueError):
        missing = _first_line(error).rpartition(" ")[2]
        return f"{missing} is not set; add {missing}=VALUE to the command"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _unknown(name: str, command: Command[Any], words: Sequence[str]) -> str:
    """Returns one line about a setting that does not exist, or only with another choice of its group."""
    typed = [word.lstrip("+~").partition("=")[0] for word in words]
    whole = next((word for word in typed if word.startswith(f"{name}.")), name)
    choices = _choices(command, words)
    group = whole.partition(".")[0]
    absent = f"there is no setting '{whole}'"
    known = [own for own in _names(command, choices) if "." in own or "." not in whole]
    if whole in known:
        return f"{whole}: the value is not of the kind that this setting has; --cfg job shows it"
    if close := difflib.get_close_matches(whole, known, n=1, cutoff=_SURELY_MEANT):
        return f"{absent}; did you mean {close[0]}?"

    elsewhere = _elsewhere(command, choices, group)
    with_choice = f"{absent} with {group}={choices.get(group)}"
    if whole in elsewhere:
        return f"{with_choice}; it belongs to {_listed(group, elsewhere[whole])}"
    close = difflib.get_close_matches(whole, [*known, *elsewhere], n=1)
    if not close:
        return f"{absent}; --cfg job lists all settings"
    if close[0] in known:
        return f"{absent}; did you mean {close[0]}?"
    return f"{with_choice}; did you mean {close[0]} of {_listed(group, elsewhere[close[0]])}?"


_LISTED, _SURELY_MEANT = 3, 0.9


def _listed(group: str, choices: Sequence[str]) -> str:
    """Returns a few choices of a group of settings as one types them."""
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    return f"{group}={', '.join(choices[:_LISTED])}{more}"


def all_names(command: Command[Any]) -> tuple[list[str], list[str]]:
    """Returns the names of all settings of a command, and of those that it has with another choice of a group only."""
    with _aside():
        choices = _choices(command, [])
        return _names(command, choices), [name for group in choices for name in _elsewhere(command, choices, group)]


def _choices(command: Command[Any], words: Sequence[str]) -> dict[str, str]:
    """Returns what is chosen of each group of settings by some words of a command line."""
    with hydra.initialize_config_module(_CONFIGS, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = {group: set(loader.get_group_options(group)) for group in loader.list_groups("")}
        chosen = [word for word in words if word.partition("=")[2] in groups.get(word.partition("=")[0], ())]
        composed = hydra.compose(command.config, chosen, return_hydra_config=True)
    choices = OmegaConf.to_container(composed.hydra.runtime.choices)
    assert isinstance(choices, dict)
    return {str(group): str(choice) for group, choice in choices.items() if group in groups and choice}


def _elsewhere(command: Command[Any], choices: dict[str, str], group: str) -> dict[str, list[str]]:
    """Returns the settings that only other choices of a group have, and which those are."""
    if group not in choices:
        return {}
    with hydra.initialize_config_module(_CONFIGS, version_base="1.3"):
        others = GlobalHydra.instance().config_loader().get_group_options(group)
    found: dict[str, list[str]] = {}
    known = set(_names(command, choices))
    for choice in others:
        for name in _names(command, {**choices, group: choice}):
            if name not in known:
                found.setdefault(name, []).append(choice)
    return found


def _names(command: Command[Any], choices: dict[str, str]) -> list[str]:
    """Returns the names of all settings of a command with some choices of groups of settings."""
    with hydra.initialize_config_module(_CONFIGS, version_base="1.3"):
        words = [f"{group}={choice}" for group, choice in choices.items()]
        content = OmegaConf.to_container(hydra.compose(command.config, words))
    assert isinstance(content, dict)
    return list(_full_names(content))


def _full_names(content: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _full_names(value, f"{prefix}{key}.")


def with_arguments(command: Command[Any], arguments: Sequence[str]) -> None:
    """Runs a command as `main` does, with these words in place of the command line's."""
    before = sys.argv
    sys.argv = [command.config, *arguments]
    try:
        with _aside():
            main(command)
    finally:
        sys.argv = before


@contextmanager
def _aside() -> Iterator[None]:
    """Puts the command that is being run aside, if any: Hydra knows of one at a time."""
    hydra_of_all = GlobalHydra.instance()
    before = hydra_of_all.hydra
    hydra_of_all.clear()
    try:
        yield
    finally:
        hydra_of_all.hydra = before
