"""Fields of parsed files: taking them out, with errors that say where and what was expected, and putting them in."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, TrackId
from hpr.skeleton import SKELETONS, Skeleton

Kind = type | tuple[type, ...]

IDENTIFIER = (int, str)  # types of the id of an image or of a track

CORNERS = ("x1", "y1", "x2", "y2")  # names of a box's corners in several formats

_KINDS: dict[Kind, str] = {list: "a list", dict: "an object", str: "a text"}


def expect(value: Any, kind: Kind, where: str) -> Any:
    """Returns value if it is of the expected kind, else raises a UserError."""
    if not isinstance(value, kind):
        raise UserError(f"{where}: expected {_KINDS.get(kind, 'a whole number or a text')}, found {summary(value)}")
    return value


def field(container: Any, key: str, kind: Kind, where: str) -> Any:
    """Returns container[key] if it is there and of the expected kind, else raises a UserError."""
    expect(container, dict, where)
    if key not in container:
        raise UserError(f"{where}: expected the field '{key}', found {', '.join(container) or 'no field at all'}")
    return expect(container[key], kind, f"{where}.{key}")


def column(records: Iterable[Any], wheres: Iterable[str], key: str, kind: Kind) -> list[Any]:
    """Returns the same field of several records; see `field`."""
    return [field(record, key, kind, where) for record, where in zip(records, wheres, strict=True)]


@contextmanager
def refuse_broken(problem: str, advice: str) -> Iterator[None]:
    """Raises a UserError for any exception of a library that parses a broken file, which can be led anywhere."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise UserError(f"{problem} ({reason}); {advice}") from None


def summary(value: Any) -> str:
    """Returns a value in a few words, for an error message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# Ids and sizes


def id_number(value: object) -> int | None:
    """Returns the number that an id stands for, also as a text ("7") or with a fraction of 0; None if it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: object) -> bool | None:
    """Returns what a flag stands for, also as a text, a number or in a list of one; None if that is not plain."""
    while isinstance(value, list) and len(value) <= 1:
        value = value[0] if value else None
    if isinstance(value, str):
        text = value.strip().lower()
        number = as_number({"false": 0, "no": 0, "": 0, "none": 0, "nan": 0, "true": 1, "yes": 1}.get(text, text))
        return bool(number) if math.isfinite(number) else None
    if value is None or isinstance(value, int | float):
        number = number_or_nan(value)
        return bool(number) and not math.isnan(number)
    return None


def plain_id(value: object) -> int | str | None:
    """Returns an id as a number where it stands for one, else as a text; None for anything else."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    number = id_number(value)
    return number if number is not None else value if isinstance(value, str) else None


def track_id(value: Any, where: str) -> TrackId:
    """Returns a track id, also of a list of those that were merged, or written as 3.0; None where the file has none.

    Raises:
        UserError: It is neither a number nor a text.
    """
    while isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, float) and (value.is_integer() or not np.isfinite(value)):
        value = int(value) if np.isfinite(value) else None
    found: TrackId = expect(value, (*IDENTIFIER, type(None)), where)
    return found


def image_finder(ids: Sequence[int | str]) -> Callable[[Any], int | None]:
    """Returns a function that returns the index of the image that an `image_id` means; None if it means none.

    An id means the image with the same id, else that with the same number: "7", 7 and 7.0 are one.
    """
    by_id: dict[Any, int] = {}
    by_number: dict[int | None, int] = {}
    for index, image_id in enumerate(ids):
        by_id.setdefault(image_id, index)
        by_number.setdefault(id_number(image_id), index)
    by_number.pop(None, None)

    def find(image_id: Any) -> int | None:
        found = by_id.get(image_id) if isinstance(image_id, (int, str, float)) else None
        return by_number.get(id_number(image_id)) if found is None else found

    return find


def match_image_ids(records: Sequence[Any], wheres: Sequence[str], ids: Sequence[int | str], expected: str) -> IntArray:
    """Returns (P,) the index of the image that each record's `image_id` means; messages call the images `expected`.

    Raises:
        UserError: A record has no `image_id`, or one that no image has.
    """
    find, indices = image_finder(ids), []
    for record, where in zip(records, wheres, strict=True):
        image_id = field(record, "image_id", (int, str, float), where)
        if (found := find(image_id)) is None:
            raise UserError(f"{where}: image_id {summary(image_id)} is not among {expected}")
        indices.append(found)
    return np.array(indices, np.int64)


def image_size(image: dict[str, Any], prefix: str = "") -> tuple[int, int] | None:
    """Returns width and height of an image, whose names may have a prefix; None where the file does not say."""
    width, height = image.get(f"{prefix}width"), image.get(f"{prefix}height")
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


def number_table(lists: list[Any], shape: tuple[int, ...], wheres: Sequence[str], key: str) -> FloatArray:
    """Returns (P, *shape) the lists of numbers, or of points, that P records have in a field; null becomes NaN.

    The shape is (n,) for n numbers, (K, n) for K keypoints of n numbers.

    Raises:
        UserError: A list is of another shape or holds something else.
    """
    table = _array(lists)
    if lists and table is not None and table.shape == (len(lists), *shape):
        return table

    rows: list[Any] = []  # one after another, to find out which is wrong
    for values, where in zip(lists, wheres, strict=True):
        place = f"{where}.{key}"
        if len(shape) == 1:
            rows.append(numbers(values, *shape, place))
            continue
        count, dims = shape
        if len(expect(values, list, place)) != count:
            raise UserError(f"{place}: expected {count} keypoints, found {summary(values)}")
        rows.append([numbers(point, dims, f"{place}[{i}]") for i, point in enumerate(values)])
    return np.array(rows, np.float64).reshape(-1, *shape)  # also without people


def optional_table(
    records: Sequence[Any], wheres: Sequence[str], key: str, shape: tuple[int, ...], missing: float = np.nan
) -> FloatArray:
    """Returns (P, *shape) as `number_table`; `missing` for records in which the field is absent, null or empty."""
    rows = [row for row, record in enumerate(records) if record.get(key)]
    table = np.full((len(records), *shape), missing)
    table[rows] = number_table([records[row][key] for row in rows], shape, [wheres[row] for row in rows], key)
    return table


def _array(values: Any) -> FloatArray | None:
    """Returns nested lists as an array; None if they are not of one shape or hold something else than numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def number_or_nan(value: Any) -> float:
    """Returns a number; NaN for anything else, and for whole numbers of hundreds of digits."""
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


def as_number(value: Any) -> float:
    """Returns a number that may be written as a text; NaN for anything else."""
    try:
        return float(value) if isinstance(value, str) else number_or_nan(value)
    except ValueError:
        return np.nan


def optional_numbers(records: Sequence[Any], wheres: Sequence[str], key: str) -> FloatArray:
    """Returns (P,) the number that each record has in a field; NaN where it is null or absent.

    Raises:
        UserError: A record has something else.
    """
    values = [record.get(key) for record in records]
    table = _array(values)
    if table is not None and table.shape == (len(values),):
        return table

    arrays = [_array(value) for value in values]
    odd = next(row for row, array in enumerate(arrays) if array is None or array.ndim)
    raise UserError(f"{wheres[odd]}.{key}: expected a number, found {summary(values[odd])}")


def plain(values: FloatArray) -> list[Any]:
    """Returns an array as nested lists of JSON numbers: whole ones without a fraction, 0 for what is not finite."""
    finite = np.where(np.isfinite(values), values, 0.0)
    if finite.ndim == 1:
        return [int(value) if value.is_integer() else value for value in finite.tolist()]
    numbers, is_whole = finite.astype(object), finite == np.trunc(finite)
    numbers[is_whole] = [int(value) for value in finite[is_whole].tolist()]
    return list(numbers.tolist())


class PlainRows:
    """The rows of a table (P, n), each as `plain` returns it; many are made at once, which takes a tenth of the time.

    Ask for the rows in ascending order.
    """

    _AT_ONCE = 1024

    def __init__(self, table: FloatArray) -> None:
        self._table = table
        self._first = -1  # of those made last
        self._rows: list[list[Any]] = []

    def __getitem__(self, row: int) -> list[Any]:
        """Returns a list of its own."""
        first = row - row % self._AT_ONCE
        if first != self._first:
            self._first, self._rows = first, plain(self._table[first : first + self._AT_ONCE])
        return self._rows[row - first]


# People


def boxes(values: Iterable[Any]) -> FloatArray:
    """Returns (P, 4) boxes that a file has as lists of numbers; NaN for broken ones, since nothing depends on them."""
    unknown = [np.nan] * 4
    rows: list[Any] = [value if isinstance(value, list) and len(value) == 4 else unknown for value in values]
    table = _array(rows)
    if table is None or table.shape != (len(rows), 4):  # one after another, to find those that are broken
        arrays = [_array(row) for row in rows]
        rows = [array if array is not None and array.shape == (4,) else unknown for array in arrays]
        table = np.array(rows, np.float64)
    return table.reshape(-1, 4)  # also without people


def box_corners(sides: FloatArray) -> FloatArray:
    """Returns x0, y0, x1, y1 (P, 4) of boxes given by x, y, width and height."""
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
        return np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)


def box_sides(corners: FloatArray) -> FloatArray:
    """Returns x, y, width and height (..., 4) of boxes given by their corners (..., 4), to a millionth of a pixel."""
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
        return np.asarray(np.concatenate([corners[..., :2], corners[..., 2:] - corners[..., :2]], axis=-1).round(6))


def keypoints_of(coordinates: FloatArray, is_missing: BoolArray) -> FloatArray:
    """Returns keypoints (P, K, 2) as in `Frame`: NaN where (P, K) `is_missing`, infinite where they are no numbers."""
    keypoints = np.where(np.isfinite(coordinates).all(axis=-1, keepdims=True), coordinates, np.inf)
    keypoints[is_missing] = np.nan
    return keypoints


def is_zero(values: FloatArray) -> BoolArray:
    """Returns (P, K) which keypoints have nothing but zeros in (P, K, n): most formats' way to say "missing"."""
    return np.asarray((values == 0).all(axis=-1))


def optional_fields(people: Frame, person: int, **keys: str) -> dict[str, Any]:
    """Returns the fields of a new record for what is known of a person, in the order of `keys`.

    These say what to put there, and the name of its field: `score`, `track_id`, and `box` and `head_box` as x, y, width
    and height.
    """
    score = people.person_scores[person]
    values: dict[str, Any] = {
        "score": float(score) if np.isfinite(score) else None,
        "track_id": people.track_ids[person],
    }
    for name, array in (("box", people.boxes), ("head_box", people.head_boxes)):
        sides = box_sides(array[person])
        values[name] = plain(sides) if np.isfinite(sides).all() else None
    return {key: values[name] for name, key in keys.items() if values[name] is not None}


def extent(people: Frame, person: int) -> FloatArray | None:
    """Returns the corners (4,) of a person's box or, where there is none, of the keypoints; None without any."""
    box: FloatArray = people.boxes[person]
    if np.isfinite(box).all():
        return box
    keypoints = people.keypoints[person]
    there = keypoints[np.isfinite(keypoints).all(axis=-1)]
    return np.concatenate([there.min(axis=0), there.max(axis=0)]) if len(there) else None


def counted_skeleton(count: int, usual: Sequence[Skeleton], chosen: Skeleton | None, where: str) -> Skeleton:
    """Returns the skeleton of keypoints that a file does not name: the user's choice, else by their number.

    The only function that goes by the number of keypoints.

    Args:
        count: Number of keypoints.
        usual: Skeletons that the format's own writers have.
        chosen: What the user has said; None for nothing.
        where: Place of the keypoints, for messages.

    Raises:
        UserError: There is no usual skeleton of that number, or several, or it is not that of the chosen one.
    """
    found = f"found {count} keypoints"
    if chosen is not None:
        if len(chosen) != count:
            name = "your skeleton" if chosen.name == "custom" else chosen.name
            raise UserError(f"{where}: expected the {len(chosen)} keypoints of {name}, {found}")
        return chosen

    alike = [skeleton for skeleton in usual if len(skeleton) == count]
    if len(alike) == 1:
        return alike[0]
    names = [name for name, skeleton in SKELETONS.items() if len(skeleton) == count]
    if names:
        raise UserError(f"{where}: {found}, which may be {' or '.join(names)}; set skeleton=NAME")
    known = ", ".join(f"{len(skeleton)} ({skeleton.name})" for skeleton in usual)
    raise UserError(f"{where}: expected {known} keypoints, {found}; set skeleton=[NAME,NAME,...]")


def read_triples(
    records: Sequence[Any], wheres: Sequence[str], key: str, usual: Sequence[Skeleton], chosen: Skeleton | None
) -> tuple[FloatArray, FloatArray, Skeleton]:
    """Returns keypoints (P, K, 2) and scores (P, K) as in `Frame`, of lists of x, y and score, and their skeleton.

    The skeleton is that of `counted_skeleton`; where nobody has a keypoint, it is the chosen or the first usual one.

    Raises:
        UserError: There are other numbers of keypoints, or different ones.
    """
    lists = [record.get(key) or [] for record in records]
    first = next((i for i, values in enumerate(lists) if values), None)
    skeleton = chosen or usual[0]
    if first is not None:
        place = f"{wheres[first]}.{key}"
        length = len(expect(lists[first], list, place))
        if length % 3:
            raise UserError(f"{place}: expected x, y and score of each keypoint, found {length} numbers")
        skeleton = counted_skeleton(length // 3, usual, chosen, place)
    length = 3 * len(skeleton)
    for values, where in zip(lists, wheres, strict=True):
        if isinstance(values, list) and values and len(values) != length:
            expected = f"expected {length} numbers as in the first record, found {len(values)}"
            raise UserError(f"{where}.{key}: {expected}; keep the poses of each model in files of their own")

    triples = optional_table(records, wheres, key, (length,), 0.0).reshape(-1, len(skeleton), 3)  # (P, K, 3)
    is_missing = is_zero(triples)
    return keypoints_of(triples[..., :2], is_missing), np.where(is_missing, np.nan, triples[..., 2]), skeleton
