"""Fields of parsed files: taking them out, with errors that say where and what was expected, and putting them in."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, TrackId

Kind = type | tuple[type, ...]

IDENTIFIER = (int, str)
"""Types of the id of an image or of a track."""

_KINDS: dict[Kind, str] = {list: "a list", dict: "an object", str: "a text"}


def expect(value: Any, kind: Kind, where: str) -> Any:
    """Returns value if it is of the expected kind.

    Raises:
        UserError: It is not.
    """
    if not isinstance(value, kind):
        raise UserError(f"{where}: expected {_KINDS.get(kind, 'a whole number or a text')}, found {summary(value)}")
    return value


def field(container: Any, key: str, kind: Kind, where: str) -> Any:
    """Returns container[key] if it is there and of the expected kind.

    Raises:
        UserError: It is not.
    """
    expect(container, dict, where)
    if key not in container:
        raise UserError(f"{where}: expected the field '{key}', found {', '.join(container) or 'no field at all'}")
    return expect(container[key], kind, f"{where}.{key}")


def summary(value: Any) -> str:
    """Returns a value in a few words, for an error message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# Ids


def id_number(value: object) -> int | None:
    """Returns the number that an id stands for; None if it is no whole number.

    Some programs write ids of images as texts ("7") or with a fraction of 0 (7.0).
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def track_id(value: Any, where: str) -> TrackId:
    """Returns a track id; None where the file has none.

    Raises:
        UserError: It is neither a whole number nor a text.
    """
    found: TrackId = expect(value, (*IDENTIFIER, type(None)), where)
    return found


def image_size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Returns width and height of an image; None where the file does not say."""
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


# Numbers


def numbers(value: Any, length: int, where: str) -> FloatArray:
    """Returns a list of `length` numbers as an array; null becomes NaN.

    Raises:
        UserError: It is not a list, of another length, or holds something else.
    """
    expect(value, list, where)
    array = _array(value)
    if array is None or array.shape != (length,):
        odd = [part for part in value if isinstance(part, str | list | dict)]
        raise UserError(f"{where}: expected {length} numbers, found {summary(odd[0] if odd else value)}")
    return array


def number_table(lists: list[Any], shape: tuple[int, ...], where: Callable[[int], str]) -> FloatArray:
    """Returns (M, *shape) M lists of numbers, or lists of keypoints that are lists of numbers; null becomes NaN.

    Args:
        lists: One for each person.
        shape: (n,) numbers, or (K, n) for K keypoints.
        where: Returns where the list with an index is, for an error.

    Raises:
        UserError: One is of another shape or holds something else.
    """
    table = _array(lists)
    if lists and table is not None and table.shape == (len(lists), *shape):
        return table

    rows = []  # one after another, to find out which is wrong
    for index, values in enumerate(lists):
        if len(shape) == 1:
            rows.append(numbers(values, shape[0], where(index)))
            continue
        if len(expect(values, list, where(index))) != shape[0]:
            raise UserError(f"{where(index)}: expected {shape[0]} keypoints, found {summary(values)}")
        points = [numbers(point, shape[1], f"{where(index)}[{i}]") for i, point in enumerate(values)]
        rows.append(np.array(points))
    return np.array(rows, np.float64).reshape(-1, *shape)  # also without people


def _array(values: Any) -> FloatArray | None:
    """Returns nested lists as an array; None if they are not of one shape or hold something else than numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def optional_number(value: Any, where: str) -> float:
    """Returns a number; NaN for null or what is absent.

    Raises:
        UserError: It is something else.
    """
    number = number_or_nan(value)
    if np.isnan(number) and value is not None and not isinstance(value, float):
        raise UserError(f"{where}: expected a number, found {summary(value)}")
    return number


def number_or_nan(value: Any) -> float:
    """Returns a number; NaN for anything else, and for whole numbers of hundreds of digits."""
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


# Boxes and keypoints


def corners(boxes: Iterable[Any]) -> FloatArray:
    """Returns (M, 4) x0, y0, x1, y1 of boxes that a file has as x, y, width and height.

    Nothing depends on people's boxes, so that a broken one counts as none: NaN.
    """
    rows = []
    for box in boxes:
        array = _array(box) if isinstance(box, list) else None
        rows.append(array if array is not None and array.shape == (4,) else np.full(4, np.nan))
    sides = np.array(rows).reshape(-1, 4)  # also without people

    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
        return np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)


def box_sides(boxes: FloatArray) -> FloatArray:
    """Returns x, y, width and height (..., 4) of boxes given by their corners (..., 4), to a millionth of a pixel."""
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
        return np.asarray(np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1).round(6))


def keypoints_of(coordinates: FloatArray, is_missing: BoolArray) -> FloatArray:
    """Returns keypoints (N, K, 2) as in `Frame`: NaN where (N, K) `is_missing`, infinite where they are no numbers."""
    keypoints = np.where(np.isfinite(coordinates).all(axis=-1, keepdims=True), coordinates, np.inf)
    keypoints[is_missing] = np.nan
    return keypoints


def plain(values: FloatArray) -> list[Any]:
    """Returns an array as nested lists of JSON numbers: whole ones without a fraction, 0 for what is not finite."""
    finite = np.where(np.isfinite(values), values, 0.0)
    return list(_whole(finite.tolist()))


def _whole(values: list[Any]) -> list[Any]:
    return [
        _whole(value) if isinstance(value, list) else int(value) if value.is_integer() else value for value in values
    ]
