"""From a command line to a command: Hydra composes the settings, pydantic checks them, errors come out as one line."""

import difflib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import hydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
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
    """

    config: str
    settings: type[Settings]
    run: Callable[[Settings], Any]
    status: Callable[[Any], int] = lambda result: 0


def main(command: Command[Any]) -> None:
    """Runs a command with the settings of the command line; ends the program with status 1 and one line on errors."""

    def checked(cfg: DictConfig) -> None:
        with _one_line_errors(command):
            sys.exit(command.status(command.run(_validated(command, cfg))))

    # With this set, Hydra raises its errors instead of printing them over several lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with _one_line_errors(command):
            hydra.main(version_base="1.3", config_path=f"pkg://{_CONFIGS}", config_name=command.config)(checked)()
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
        raise UserError(_explained(error, command)) from None


def build(name: str, node: dict[str, Any], **arguments: Any) -> Any:
    """Builds what a configuration node with a `_target_` describes.

    Args:
        name: Of the setting, for messages.
        node: The node.
        **arguments: For the constructor, besides those in the node.

    Raises:
        UserError: An argument is unknown or its value is not allowed.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ValidationError):
            raise UserError(_first_problem(error.__cause__, name)) from None
        raise


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
        _fail(_explained(error, command))


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
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


def _first_problem(error: ValidationError, prefix: str = "") -> str:
    """Returns what is wrong with the first setting that is wrong."""
    problem = error.errors()[0]
    name = ".".join([*filter(None, [prefix]), *(str(part) for part in problem["loc"])])
    if problem["type"] in ("missing", "missing_argument"):
        return f"{name} is not set; add {name}=VALUE to the command"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"there is no setting '{name}'; --cfg job lists all settings"
    context = {key: _allowed(value) for key, value in problem.get("ctx", {}).items()}
    expected = _EXPECTED.get(problem["type"], problem["msg"]).format(**context)
    return f"{name}={_as_typed(problem['input'])}: expected {expected}"


def _allowed(value: object) -> str:
    """Returns a bound as a short number, or a list of choices without quotes."""
    return f"{value:g}" if isinstance(value, float) else str(value).replace("'", "").replace(" or ", ", ")


def _as_typed(value: object) -> str:
    """Returns a value as one types it in a command."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")


def _explained(error: Exception, command: Command[Any]) -> str:
    """Returns one line that says what is wrong with a word of the command line and what to do."""
    if isinstance(error, OverrideParseException):
        return f"'{error.override}': expected NAME=VALUE; --help lists the settings"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such {group}; expected one of {', '.join(error.options)}"
    unknown = getattr(error.__cause__, "full_key", None)
    if isinstance(error, ConfigCompositionException) and unknown:
        close = difflib.get_close_matches(unknown, _names(command), n=1)
        hint = f"did you mean {close[0]}?" if close else "--cfg job lists all settings"
        return f"there is no setting '{unknown}'; {hint}"
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[0] if lines else type(error).__name__


def _names(command: Command[Any]) -> list[str]:
    """Returns the names of all settings of a command, for the hint after a misspelt one."""
    with hydra.initialize_config_module(_CONFIGS, version_base="1.3"):
        content = OmegaConf.to_container(hydra.compose(command.config))
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
        main(command)
    finally:
        sys.argv = before
