"""From a command line to a composed configuration; errors that a user can mend come out as one line."""

import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpr.errors import UserError

CONF = Path(__file__).resolve().parents[1] / "conf"
ASSETS = Path(__file__).resolve().parent / "assets"

# ${asset:NAME} in a configuration is a file or folder that comes with the package.
OmegaConf.register_new_resolver("asset", lambda name: str(ASSETS / name), replace=True)


def run(job: Callable[[DictConfig], None], config_name: str) -> None:
    """Composes a configuration with the command line's settings and runs the job on it.

    Args:
        job: The command.
        config_name: A file in conf/, without its ending.
    """

    def guarded(cfg: DictConfig) -> None:
        try:
            _check_types(cfg, _defaults(config_name, HydraConfig.get().overrides.task))
            job(cfg)
        except (UserError, OmegaConfBaseException) as error:
            _fail(_message(error, []))
        except InstantiationException as error:
            if not isinstance(error.__cause__, UserError):
                raise
            _fail(str(error.__cause__))
        except BrokenPipeError:  # whoever read the output, such as head, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            sys.exit(130)  # as shells report a command stopped by Ctrl-C

    # With this set, Hydra raises its errors instead of printing them over several lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_message(error, _names(config_name)))


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def _defaults(config_name: str, overrides: list[str]) -> DictConfig:
    """Returns the configuration as it would be with the command line's choices of groups alone."""
    choices = [override for override in overrides if (CONF / override.lstrip("+").partition("=")[0]).is_dir()]
    return hydra.compose(config_name, choices)


def _check_types(cfg: DictConfig, defaults: DictConfig) -> None:
    """Raises a UserError where a setting has no default in conf/ or is of another type than it."""
    for key in cfg:
        if OmegaConf.is_missing(defaults, key) or OmegaConf.is_missing(cfg, key):
            continue
        if key not in defaults:
            raise UserError(f"there is no setting '{cfg._get_full_key(str(key))}'; --cfg job lists all settings")
        value, default = cfg[key], defaults[key]
        if isinstance(value, DictConfig) and isinstance(default, DictConfig):
            _check_types(value, default)
        elif not _fits(value, default):
            name = cfg._get_full_key(str(key))
            raise UserError(f"{name}={value}: expected {_expected(default)}, like the default {default}")


def _fits(value: Any, default: Any) -> bool:
    if value is None or default is None or isinstance(default, str):
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))


def _expected(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    return kinds.get(type(default), "a list")


def _message(error: Exception, names: list[str]) -> str:
    """Returns one line that says what is wrong with a setting and what to do."""
    text = str(error)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if match := re.match(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]} is not set; add {match[1]}=VALUE to the command"
    if match := re.match(r"Could not override '([^']+)'", text):
        close = difflib.get_close_matches(match[1], names, n=1)
        hint = f"did you mean {close[0]}?" if close else "--cfg job lists all settings"
        return f"there is no setting '{match[1]}'; {hint}"
    if isinstance(error, OverrideParseException):
        return f"'{error.override}': expected NAME=VALUE; --help lists the settings"
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, choice = match.groups()
        options = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        return f"{group}={choice}: there is no such {group}; expected one of {options}"
    return "; ".join(lines[:2])


def _names(config_name: str) -> list[str]:
    """Returns the names of all settings of a command, for the hint after a misspelt one."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(config_name)
    names: list[str] = []

    def collect(node: DictConfig, prefix: str) -> None:
        for key in node:
            names.append(f"{prefix}{key!s}")
            if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
                collect(node[key], f"{prefix}{key!s}.")

    collect(cfg, "")
    return names
