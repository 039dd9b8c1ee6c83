"""Objects that a configuration describes by `_target_`, and what is wrong with settings, in one line."""

import pkgutil
import re
from functools import partial
from typing import Any

from pydantic import ValidationError

from hpr.cli.main import short_name
from hpr.errors import UserError

Component = dict[str, Any]
"""A group of settings with `_target_`; the constructor of this class or function checks the others."""

MAX_VALUE, _MAX_REASON = 80, 300
"""Characters of a value, and of another library's message, that an error message repeats."""


def build(name: str, node: Component, **arguments: Any) -> Any:
    """Builds the object that a configuration node describes by `_target_`, and those within it.

    Args:
        name: The setting's name, for messages.
        node: `_target_` is called with the other items; `_partial_: true` leaves the call to the caller.
        **arguments: Further arguments of the call.

    Raises:
        UserError: There is no such target, an argument is unknown, or its value is not allowed.
    """
    target_name, is_partial = node.get("_target_"), node.get("_partial_", False)
    if not isinstance(target_name, str):
        raise UserError(f"{name}._target_={_shown(target_name)}: expected the name of a class")
    if not isinstance(is_partial, bool):
        raise UserError(f"{name}._partial_={_shown(is_partial)}: expected true or false")

    own = {key: _build_within(f"{name}.{key}", item) for key, item in node.items() if not key.startswith("_")}
    is_ours = target_name.startswith("hpr.")
    try:
        target = pkgutil.resolve_name(target_name)
        return partial(target, **own, **arguments) if is_partial else target(**own, **arguments)
    except ValidationError as error:
        raise UserError(describe_problem(error, name)) from None
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        if is_ours and isinstance(error, ValueError | TypeError):  # a bug in hpr: show where
            raise
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise UserError(f"{name}: {target_name[:MAX_VALUE]} cannot be built ({reason})") from None


def _build_within(name: str, value: Any) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(name, value)
    if isinstance(value, dict):
        return {key: _build_within(f"{name}.{key}", item) for key, item in value.items()}
    return value


def describe_problem(error: ValidationError, prefix: str = "") -> str:
    """Returns one line about the first setting that is wrong.

    Args:
        error: What pydantic says.
        prefix: Name of the group of settings that was checked.
    """
    problem = error.errors()[0]
    # Where several types are allowed, pydantic adds the one that it tried to the name.
    tried = re.compile(r"str|list\[.*\]|is-instance\[.*\]")
    name = ".".join(part for part in [prefix, *map(str, problem["loc"])] if part and not tried.fullmatch(part))

    if problem["type"] in ("missing", "missing_argument"):
        name = short_name(name)
        return f"{name} is not set; add {name}=VALUE to the command"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"there is no setting '{name}'; --help lists the settings"
    expected = problem["msg"].replace("Input should be ", "expected ").replace("an instance of Sequence", "a list")
    return f"{name}={_shown(problem['input'])}: {expected.removeprefix('Value error, ')}"


def _shown(value: object) -> str:
    """Returns a value as it is typed in a command, shortened."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"
