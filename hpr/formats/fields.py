"""Fields of parsed JSON: taking them out with errors that say where and what was expected, and putting them in."""

from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.poses import FloatArray

Kind = type | tuple[type, ...]

IDENTIFIER = (int, str)
"""What an image or a track may be called."""

_KINDS: dict[Kind, str] = {list: "a list", dict: "an object", str: "a text"}


def expect(value: Any, kind: Kind, where: str) -> Any:
    """Returns value if it is of the kind expected.

    Raises:
        UserError: It is not.
    """
    if not isinstance(value, kind):
        raise UserError(f"{where}: expected {_KINDS.get(kind, 'a whole number or a text')}, found {summary(value)}")
    return value


def field(container: Any, key: str, kind: Kind, where: str) -> Any:
    """Returns container[key] if it is there and of the kind expected.

    Raises:
        UserError: It is not.
    """
    expect(container, dict, where)
    if key not in container:
        raise UserError(f"{where}: expected the field '{key}', found {', '.join(container) or 'no field at all'}")
    return expect(container[key], kind, f"{where}.{key}")


def numbers(value: Any, length: int, where: str) -> FloatArray:
    """Returns a list of `length` numbers as an array; null becomes NaN.

    Raises:
        UserError: It is not a list, of another length, or holds something else.
    """
    expect(value, list, where)
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape != (length,):
        raise UserError(f"{where}: expected {length} numbers, found {_content(value)}")
    return array


def _content(values: list[Any]) -> str:
    """Returns what is wrong with a list of numbers: its length, or its first value that is none."""
    odd = [value for value in values if isinstance(value, str | list | dict)]
    return summary(odd[0]) if odd else summary(values)


def summary(value: Any) -> str:
    """Returns a value in a few words, for an error message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def sides(boxes: FloatArray) -> FloatArray:
    """Returns x, y, width and height (..., 4) of boxes given by their corners (..., 4), to a millionth of a pixel."""
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
        return np.asarray(np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1).round(6))


def plain(values: FloatArray) -> list[Any]:
    """Returns an array as nested lists of JSON numbers: whole ones without a fraction, 0 for what is not finite."""
    finite = np.where(np.isfinite(values), values, 0.0)
    return list(_whole(finite.tolist()))


def _whole(values: list[Any]) -> list[Any]:
    return [
        _whole(value) if isinstance(value, list) else int(value) if value.is_integer() else value for value in values
    ]
