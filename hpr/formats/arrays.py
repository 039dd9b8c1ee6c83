"""Poses in the arrays of an .npz file, for people who have them in numpy (docs/formats.md)."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import read_bytes, replacing
from hpr.formats.base import Format
from hpr.formats.base import pose_files
from hpr.poses import NO_RECORD, FloatArray, Frame, IntArray, PoseSequence, TrackId
from hpr.skeleton import SKELETONS, Skeleton, skeleton_of

Array = NDArray[Any]

_NUMBERS = ("scores", "flags", "boxes", "head_boxes", "person_scores")
"""Fields of `Frame` that a file can have as arrays, besides keypoints and track_ids."""

_IMAGES = ("images", "frames", "all_images", "all_frames")
_KNOWN = ("keypoints", *_NUMBERS, *_IMAGES, "track_ids", "skeleton", "keypoint_names")
_SKELETONS_BY_NAMES = {skeleton.names: skeleton for skeleton in SKELETONS.values()}

_MAX_NUMBER = 2**31
_KINDS = {"fiu": "numbers", "fiub": "numbers", "iu": "whole numbers", "U": "texts"}
"""What the kinds of numpy's types are called."""


@dataclass(frozen=True)
class _Original:
    """A file that was read.

    Attributes:
        arrays: Those that are known.
        others: The bytes of all other parts of the file, by their names in it.
        skeleton: Of the poses.
        keypoints: (N, K, 2) of all people, as in `Frame`.
        numbers: The arrays of _NUMBERS that the file has, likewise.
    """

    arrays: dict[str, Array]
    others: dict[str, bytes]
    skeleton: Skeleton
    keypoints: FloatArray
    numbers: dict[str, FloatArray]


class Arrays(Format):
    """Reader and writer of .npz files, one sequence each."""

    name = "npz"
    ending = ".npz"
    looks_like = "an .npz file with keypoints (N, K, 2), skeleton, and frames (N,) or images (N,)"
    skeletons = tuple(SKELETONS.values())
    metric = "oks"

    def sources(self, location: Path) -> list[Path]:
        """See `Format`."""
        return pose_files(location, ".npz")

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return path.suffix == ".npz"

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of `all_images` or `all_frames`, else as the people name them."""
        arrays, others = _load(path)
        skeleton, people = _checked(arrays, path)
        keypoints = arrays["keypoints"].astype(np.float64)
        keypoints[np.isinf(keypoints).any(axis=-1)] = np.inf
        keypoints[np.isnan(arrays["keypoints"]).any(axis=-1)] = np.nan

        numbers = {name: arrays[name].astype(np.float64) for name in _NUMBERS if name in arrays}
        original = _Original(arrays, others, skeleton, keypoints, numbers)
        frames = []
        for image, number, rows in _images(arrays, people, path):
            frames.append(_frame(original, image, number, rows))
        return [PoseSequence(path.stem, frames, original)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch in the skeleton of the first frame."""
        (sequence,) = sequences
        if isinstance(sequence.original, _Original):
            _save(_onto(sequence.original, sequence), sequence.original.others, path)
        else:
            _save(_from_scratch(sequence), {}, path)


def _load(path: Path) -> tuple[dict[str, Array], dict[str, bytes]]:
    """Returns the known arrays of a file and the bytes of everything else in it.

    Raises:
        UserError: The file is absent or broken, or a known array holds Python objects.
    """
    arrays: dict[str, Array] = {}
    others: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
            for part in archive.namelist():
                name = part.removesuffix(".npy")
                if name not in _KNOWN:
                    others[part] = archive.read(part)
                    continue
                with archive.open(part) as file:
                    arrays[name] = _loaded(file, f"{path}: {name}")
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # a broken archive can lead zipfile and zlib anywhere
        raise UserError(f"{path}: cannot be read as an .npz file ({_line(error)}); write it with np.savez") from None
    return arrays, others


def _loaded(file: Any, where: str) -> Array:
    """Returns an array; a pickled one, which could run code, is refused."""
    content = io.BytesIO(file.read())
    try:
        array: Array = np.lib.format.read_array(content, allow_pickle=False)
    except Exception as error:  # numpy evaluates the text of a header
        problem = "holds Python objects" if "allow_pickle" in str(error) else f"cannot be read ({_line(error)})"
        raise UserError(f"{where}: {problem}; expected an array of numbers or of texts") from None
    return array


def _line(error: Exception) -> str:
    """Returns the first line of an error."""
    return (str(error) or type(error).__name__).split("\n")[0]


def _checked(arrays: dict[str, Array], path: Path) -> tuple[Skeleton, int]:
    """Checks the kinds and shapes of the known arrays; returns the skeleton and the number of people.

    Raises:
        UserError: One is of another kind or shape, or is missing.
    """
    if "keypoints" not in arrays:
        raise UserError(f"{path}: expected the array keypoints (N, K, 2), found {', '.join(arrays) or 'none we know'}")
    keypoints = arrays["keypoints"]
    if keypoints.ndim != 3 or keypoints.shape[2] != 2:
        hint = "; put the scores into an array scores (N, K)" if keypoints.shape[2:] == (3,) else ""
        raise UserError(f"{path}: keypoints: expected the shape (N, K, 2), found {keypoints.shape}{hint}")

    people, count, _ = keypoints.shape
    per_keypoint, per_person, corners = (people, count), (people,), (people, 4)
    ids = arrays.get("track_ids")
    expected = {
        "keypoints": (keypoints.shape, "fiu"),
        "scores": (per_keypoint, "fiu"),
        "flags": (per_keypoint, "fiub"),
        "boxes": (corners, "fiu"),
        "head_boxes": (corners, "fiu"),
        "person_scores": (per_person, "fiu"),
        "images": (per_person, "U"),
        "frames": (per_person, "iu"),
        "all_images": ((_size(arrays.get("all_images")),), "U"),
        "all_frames": ((_size(arrays.get("all_frames")),), "iu"),
        "track_ids": (per_person, "U" if ids is not None and ids.dtype.kind == "U" else "iu"),
    }
    for name in expected.keys() & arrays.keys():
        _check(arrays[name], *expected[name], f"{path}: {name}")
    for name in {"frames", "all_frames"} & arrays.keys():
        if ((arrays[name] < 0) | (arrays[name] >= _MAX_NUMBER)).any():
            raise UserError(f"{path}: {name}: expected the numbers of images in the video, from 0, found others")
    return _skeleton(arrays, count, path), people


def _size(array: Array | None) -> int:
    return 0 if array is None else array.size


def _check(array: Array, shape: tuple[int, ...], kinds: str, where: str) -> None:
    """Refuses an array of another shape or kind.

    Raises:
        UserError: It is.
    """
    if array.shape != shape:
        raise UserError(f"{where}: expected the shape {shape}, found {array.shape}")
    if array.dtype.kind not in kinds:
        raise UserError(f"{where}: expected {_KINDS[kinds]}, found {array.dtype}")


def _skeleton(arrays: dict[str, Array], count: int, path: Path) -> Skeleton:
    """Returns the skeleton that a file names, or lists the keypoints of.

    Raises:
        UserError: There is none, or one that does not fit.
    """
    names, listed = arrays.get("skeleton"), arrays.get("keypoint_names")
    if names is None and listed is None:
        known = f"skeleton (one of {', '.join(SKELETONS)}) or keypoint_names ({count} texts)"
        raise UserError(f"{path}: expected the array {known}, found none")
    if names is not None:
        _check(names.reshape(-1), (1,), "U", f"{path}: skeleton")
        name = str(names.item())
        if name not in SKELETONS:
            raise UserError(f"{path}: skeleton: expected one of {', '.join(SKELETONS)}, found {name!r}")
        if len(SKELETONS[name]) != count:
            expected = f"expected the {len(SKELETONS[name])} keypoints of {name}"
            raise UserError(f"{path}: keypoints: {expected}, found {count}")
    if listed is None:
        return SKELETONS[name]

    _check(listed, (count,), "U", f"{path}: keypoint_names")
    keypoints = tuple(listed.tolist())
    if not keypoints or len(set(keypoints)) < count:
        raise UserError(f"{path}: keypoint_names: expected each name once, found {', '.join(keypoints) or 'none'}")
    if names is not None and keypoints != SKELETONS[name].names:
        raise UserError(f"{path}: keypoint_names: expected those of the skeleton {name}, found others; leave out one")
    return _SKELETONS_BY_NAMES.get(keypoints) or skeleton_of(keypoints)


def _images(arrays: dict[str, Array], people: int, path: Path) -> list[tuple[str, int | None, IntArray]]:
    """Returns the name of each image, its number in the video, and the rows of the people in it.

    Raises:
        UserError: The file does not say who is in which image.
    """
    keys = [name for name in ("images", "frames") if name in arrays or f"all_{name}" in arrays]
    if people and not keys:
        raise UserError(f"{path}: expected the array frames (N,) or images (N,), which image each person is in")
    listed_keys = [f"all_{name}" for name in keys if f"all_{name}" in arrays]
    for name in keys:
        if people and name not in arrays:
            raise UserError(f"{path}: expected the array {name} (N,) beside all_{name}, found none")
        if listed_keys and f"all_{name}" not in arrays:
            raise UserError(f"{path}: expected the array all_{name} beside {listed_keys[0]}, found none")
    if len({len(arrays[name]) for name in listed_keys}) > 1:
        raise UserError(f"{path}: expected as many all_images as all_frames, found different numbers")

    rows: dict[tuple[Any, ...], list[int]] = {key: [] for key in _columns(arrays, listed_keys)}
    for row, key in enumerate(_columns(arrays, keys) if people else []):
        if listed_keys and key not in rows:
            found = ", ".join(str(part) for part in key)
            raise UserError(f"{path}: {keys[0]}[{row}]: expected an image of {listed_keys[0]}, found {found}")
        rows.setdefault(key, []).append(row)
    if keys == ["frames"] and not listed_keys:
        rows = dict(sorted(rows.items()))
    return [(*_name_and_number(key, keys), np.array(own, np.int64)) for key, own in rows.items()]


def _columns(arrays: dict[str, Array], names: list[str]) -> list[tuple[Any, ...]]:
    """Returns the values of some arrays (n,), those of one place together."""
    return list(zip(*(arrays[name].tolist() for name in names), strict=True))


def _name_and_number(key: tuple[Any, ...], keys: list[str]) -> tuple[str, int | None]:
    """Returns the name and the number of an image; one without a name is called like AlphaPose's frames of a video."""
    values = dict(zip(keys, key, strict=True))
    number = values.get("frames")
    return values.get("images", f"{number}.jpg"), number


def _frame(original: _Original, image: str, number: int | None, rows: IntArray) -> Frame:
    values: dict[str, Any] = {name: array[rows] for name, array in original.numbers.items()}
    if "track_ids" in original.arrays:
        values["track_ids"] = tuple(_track_id(value) for value in original.arrays["track_ids"][rows].tolist())
    return Frame(image, original.skeleton, original.keypoints[rows], records=rows, number=number, **values)


def _track_id(value: int | str) -> TrackId:
    """Returns a track id; a negative number and an empty text stand for none."""
    return None if value == "" or (isinstance(value, int) and value < 0) else value


def _onto(original: _Original, sequence: PoseSequence) -> dict[str, Array]:
    """Returns the arrays of a file with the poses of the sequence; rows of people who are gone are left out."""
    frames = [frame.in_skeleton(original.skeleton) for frame in sequence.frames]
    records = np.concatenate([np.zeros(0, np.int64), *(frame.records for frame in frames)])
    order = np.lexsort((np.arange(len(records)), np.where(records == NO_RECORD, np.iinfo(np.int64).max, records)))
    rows = records[order]
    kept = rows[rows != NO_RECORD]

    new = _people_arrays(frames, original.skeleton)
    ids = original.arrays.get("track_ids")
    if ids is not None and ids.dtype.kind == "U":
        new["track_ids"] = _texts([track_id for frame in frames for track_id in frame.track_ids])
    arrays = dict(original.arrays)
    for name in arrays.keys() & new.keys():
        values, before = new[name][order], original.arrays[name]
        if name in ("keypoints", "scores", "flags", "person_scores"):
            read = original.keypoints if name == "keypoints" else original.numbers[name]
            arrays[name] = _updated(before, read, kept, values)
        else:
            arrays[name] = _extended(before[kept], values[len(kept) :])
    return arrays


def _updated(before: Array, read: FloatArray, kept: IntArray, values: FloatArray) -> Array:
    """Returns an array with new values where they differ from those read; in its own type, if that holds them."""
    is_same = (values[: len(kept)] == read[kept]) | (np.isnan(values[: len(kept)]) & np.isnan(read[kept]))
    if is_same.all():
        return _extended(before[kept], values[len(kept) :])
    is_precise = before.dtype.kind == "f" and before.dtype.itemsize >= np.dtype(np.float32).itemsize
    array = before[kept].astype(before.dtype if is_precise else np.float64)
    array[~is_same] = values[: len(kept)][~is_same]
    return _extended(array, values[len(kept) :])


def _extended(array: Array, new: Array) -> Array:
    """Returns an array with rows of new people behind it."""
    return np.concatenate([array, new]) if len(new) else array


def _from_scratch(sequence: PoseSequence) -> dict[str, Array]:
    skeleton = sequence.frames[0].skeleton if sequence.frames else Arrays.skeletons[0]
    frames = [frame.in_skeleton(skeleton) for frame in sequence.frames]
    arrays = {name: array for name, array in _people_arrays(frames, skeleton).items() if _says_something(name, array)}
    if skeleton in SKELETONS.values():
        arrays["skeleton"] = np.array(skeleton.name)
    else:
        arrays["keypoint_names"] = np.array(skeleton.names, np.str_)

    is_video = all(frame.number is not None for frame in frames)
    listed = list(dict.fromkeys((frame.image, frame.number if is_video else 0) for frame in frames))
    arrays["all_images"] = np.array([image for image, _ in listed], np.str_)
    if is_video:
        arrays["all_frames"] = np.array([number for _, number in listed], np.int64)
    else:
        del arrays["frames"]
    return arrays


def _says_something(name: str, array: Array) -> bool:
    """Returns whether an array of the people has to be in a file, or nobody has a value in it."""
    if name == "track_ids":
        return bool((array != (-1 if array.dtype.kind == "i" else "")).any())
    return name not in _NUMBERS or not np.isnan(array).all()


def _people_arrays(frames: Sequence[Frame], skeleton: Skeleton) -> dict[str, Array]:
    """Returns the arrays of the people of all frames, one frame after the other."""
    empty = Frame.empty("", skeleton)  # for the shapes, where there are no frames
    arrays: dict[str, Array] = {}
    for name in ("keypoints", *_NUMBERS):
        arrays[name] = np.concatenate([getattr(frame, name) for frame in (empty, *frames)])
    arrays["images"] = _repeated([frame.image for frame in frames], frames, np.str_)
    arrays["frames"] = _repeated([frame.number or 0 for frame in frames], frames, np.int64)
    arrays["track_ids"] = _track_ids([track_id for frame in frames for track_id in frame.track_ids])
    return arrays


def _repeated(values: Sequence[Any], frames: Sequence[Frame], kind: Any) -> Array:
    """Returns (N,) what is said of each frame, for each person in it."""
    return np.repeat(np.array(values, kind), [len(frame) for frame in frames])


def _track_ids(ids: Sequence[TrackId]) -> Array:
    """Returns (N,) track ids as whole numbers, -1 for none, or else as texts, empty for none."""
    if all(track_id is None or (isinstance(track_id, int) and 0 <= track_id < _MAX_NUMBER) for track_id in ids):
        return np.array([-1 if track_id is None else track_id for track_id in ids], np.int64)
    return _texts(ids)


def _texts(ids: Sequence[TrackId]) -> Array:
    return np.array(["" if track_id is None else str(track_id) for track_id in ids], np.str_)


def _save(arrays: Mapping[str, Array], others: Mapping[str, bytes], path: Path) -> None:
    """Writes an .npz file; its parts carry no date, so that the same content makes the same file."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.save(content, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
        for part, raw in others.items():
            archive.writestr(zipfile.ZipInfo(part), raw, zipfile.ZIP_DEFLATED)
