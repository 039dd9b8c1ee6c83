"""MPII Human Pose: the official .mat file, and the list of records that HRNet's code base made of it.

The pixels of both count from 1 (HRNet's lib/dataset/mpii.py subtracts it), those of a `Frame` from 0.
"""

import io
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import read_bytes, read_json, replacing, write_json
from hpr.formats.base import Format
from hpr.formats.fields import expect, field, numbers, plain, summary
from hpr.formats.sources import pose_files
from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence
from hpr.skeleton import MPII16

_HEAD_BOX = ("x1", "y1", "x2", "y2")
_REFERENCE_HEIGHT = 200.0
"""Pixels of a person of scale 1."""

_HEADER_LENGTH = 116
"""Bytes at the beginning of a .mat file that say in words what wrote it, and when."""

_HEADER = b"MATLAB 5.0 MAT-file, written by hpr"

_DATA_START = 128
_COMPRESSED = 15  # miCOMPRESSED: the kind of a variable in MATLAB's description of its MAT-files
_HDF5 = b"\x89HDF\r\n\x1a\n"

_KEYPOINTS = frozenset(range(len(MPII16)))

_EMPTY: NDArray[Any] = np.zeros((0, 0))
"""What MATLAB has in a field without a value."""

Struct = dict[str, Any]
"""The fields of one MATLAB struct: arrays, each of which may hold structs again."""


@dataclass(frozen=True)
class _Records:
    """A parsed list of records.

    Attributes:
        document: Its content.
        keypoints: (M, 16, 2) of all records, as in `Frame`.
        flags: (M, 16), likewise.
    """

    document: list[dict[str, Any]]
    keypoints: FloatArray
    flags: FloatArray


@dataclass(frozen=True)
class _Mat:
    """A parsed .mat file.

    Attributes:
        variables: Its content.
        header: Its first bytes.
        keypoints: (M, 16, 2) of the people of all images, as in `Frame`.
        places: M, the place of each person in its image.
    """

    variables: dict[str, Any]
    header: bytes
    keypoints: FloatArray
    places: list[int]


class Mpii(Format):
    """Reader and writer of both, one sequence each; what is written is told by the ending of the file."""

    name = "mpii"
    looks_like = "a .mat file with RELEASE.annolist, or a JSON list of records with image, joints, center and scale"
    skeletons = (MPII16,)
    metric = "pckh"

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. Of a folder its .json files or, where it has none, its .mat files."""
        has_records = not location.is_dir() or any(location.glob("*.json"))
        return pose_files(location, ".json" if has_records else ".mat")

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        first = document[0] if isinstance(document, list) and document else None
        has_records = isinstance(first, dict) and "image" in first and bool({"joints", "center"} & first.keys())
        return has_records or path.suffix == ".mat"

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of the file, each with its people in the order of the file."""
        return [_read_mat(path) if path.suffix == ".mat" else _read_records(path)]

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The region of a person without joints is the square of the person's centre and scale."""
        (sequence,) = self.read(path)
        is_mat = isinstance(sequence.original, _Mat)
        unposed = _unposed_structs(sequence) if is_mat else _unposed_records(sequence)
        frames = [replace(f, ignore_regions=tuple(own)) for f, own in zip(sequence.frames, unposed, strict=True)]
        return [replace(sequence, frames=frames)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`."""
        (sequence,) = sequences
        original = sequence.original
        if path.suffix == ".mat":
            is_own = isinstance(original, _Mat)
            release = _release_onto(original, sequence) if is_own else _release_from_scratch(sequence)
            others = original.variables if is_own else {}
            _save_mat({**others, "RELEASE": release}, original.header if is_own else _HEADER, path)
        elif isinstance(original, _Records):
            write_json(path, _records_onto(original, sequence))
        else:
            write_json(path, _records_from_scratch(sequence))


def _read_records(path: Path) -> PoseSequence:
    document = expect(read_json(path), list, str(path))
    rows: dict[str, list[int]] = {}
    for row, record in enumerate(document):
        rows.setdefault(field(record, "image", str, f"{path}: [{row}]"), []).append(row)

    joints, flags = _joints(document, path), _flags(document, path)  # (M, 16, 2), (M, 16)
    is_missing = (flags == 0) & ~(joints > 0).any(axis=-1)  # such as (-1, -1)
    keypoints = np.where(np.isfinite(joints).all(axis=-1, keepdims=True), joints - 1, np.inf)
    keypoints[is_missing] = np.nan
    original = _Records(document, keypoints, flags)
    return PoseSequence(path.stem, [_frame_of_records(image, original, own) for image, own in rows.items()], original)


def _joints(document: list[dict[str, Any]], path: Path) -> FloatArray:
    """Returns the joints (M, 16, 2) as they are; (-1, -1) for records without, as those of the test images."""
    lists = [record.get("joints") or [[-1.0, -1.0]] * len(MPII16) for record in document]
    try:
        joints = np.asarray(lists, np.float64)
    except (TypeError, ValueError, OverflowError):
        joints = np.empty(0)
    if joints.shape == (len(document), len(MPII16), 2):
        return joints
    return np.array([_joints_of(values, f"{path}: [{row}].joints") for row, values in enumerate(lists)]).reshape(
        -1, len(MPII16), 2
    )  # (M, 16, 2), also without records


def _joints_of(value: Any, where: str) -> FloatArray:
    """Returns the joints (16, 2) of a record.

    Raises:
        UserError: They are no 16 pairs of numbers.
    """
    if len(expect(value, list, where)) != len(MPII16):
        raise UserError(f"{where}: expected MPII's {len(MPII16)} joints, found {summary(value)}")
    return np.array([numbers(joint, 2, f"{where}[{i}]") for i, joint in enumerate(value)])


def _flags(document: list[dict[str, Any]], path: Path) -> FloatArray:
    """Returns the flags (M, 16) of the joints; 1 where a record has joints without flags."""
    flags = np.zeros((len(document), len(MPII16)))
    for row, record in enumerate(document):
        if record.get("joints"):
            given = record.get("joints_vis")
            flags[row] = 1 if given is None else numbers(given, len(MPII16), f"{path}: [{row}].joints_vis")
    return np.nan_to_num(flags)


def _frame_of_records(image: str, original: _Records, rows: list[int]) -> Frame:
    records = [original.document[row] for row in rows]
    corners = np.array([[_plain_number(record.get(key)) for key in _HEAD_BOX] for record in records])
    return Frame(
        image,
        MPII16,
        original.keypoints[rows],
        flags=original.flags[rows],
        head_boxes=_head_boxes(corners),
        posed=np.array([bool(record.get("joints")) for record in records], bool),
        records=np.array(rows, np.int64),
    )


def _plain_number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


def _head_boxes(corners: FloatArray) -> FloatArray:
    """Returns boxes (N, 4) whose corners count from 0; NaN for those that lack a corner."""
    boxes = corners.reshape(-1, 4) - 1
    boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
    return boxes


def _records_onto(original: _Records, sequence: PoseSequence) -> list[dict[str, Any]]:
    """Returns the original document with the poses of the sequence."""
    kept: dict[int, dict[str, Any]] = {}
    new: list[dict[str, Any]] = []
    for own_frame in sequence.frames:
        frame = own_frame.in_skeleton(MPII16)
        for person, row in enumerate(frame.records.tolist()):
            if row == NO_RECORD:
                new.append(_record(frame, person))
            else:
                kept[row] = _updated_record(original, row, frame, person)
    return [kept[row] for row in sorted(kept)] + new


def _updated_record(original: _Records, row: int, frame: Frame, person: int) -> dict[str, Any]:
    """Returns a record as it is, or with the person's pose if that differs; joints that are the same are kept."""
    record = original.document[row]
    is_same = _same_keypoints(original.keypoints[row], frame.keypoints[person])
    if is_same.all() and np.array_equal(original.flags[row], frame.flags[person]):
        return record
    joints, flags = _written(frame, person)
    before = record.get("joints") or joints
    kept = [old if same else new for old, new, same in zip(before, joints, is_same.tolist(), strict=True)]
    return {**record, "joints": kept, "joints_vis": flags}


def _same_keypoints(one: FloatArray, other: FloatArray) -> NDArray[np.bool_]:
    """Returns (16,) which keypoints (16, 2) are the same in both; a missing one is the same as a missing one."""
    return np.asarray(((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=-1))


def _written(frame: Frame, person: int) -> tuple[list[Any], list[Any]]:
    """Returns a person's 16 joints, whose pixels count from 1, and their flags; (-1, -1) and 0 for what is missing."""
    keypoints = frame.keypoints[person]
    is_there = np.isfinite(keypoints).all(axis=-1)
    return plain(np.where(is_there[:, None], keypoints + 1, -1.0)), plain(np.where(is_there, frame.flags[person], 0.0))


def _records_from_scratch(sequence: PoseSequence) -> list[dict[str, Any]]:
    document = []
    for own_frame in sequence.frames:
        frame = own_frame.in_skeleton(MPII16)
        document += [_record(frame, person) for person in range(len(frame))]
    return document


def _record(frame: Frame, person: int) -> dict[str, Any]:
    """Returns the record of a person who was not read from such a list."""
    joints, flags = _written(frame, person)
    record: dict[str, Any] = {"image": frame.image, "joints": joints, "joints_vis": flags}
    if (extent := _extent(frame, person)) is not None:
        record["center"] = plain((extent[:2] + extent[2:]) / 2 + 1)
        record["scale"] = float(extent[3] - extent[1]) / _REFERENCE_HEIGHT
    head_box = frame.head_boxes[person]
    if np.isfinite(head_box).all():
        record |= dict(zip(_HEAD_BOX, plain(head_box + 1), strict=True))
    return record


def _extent(frame: Frame, person: int) -> FloatArray | None:
    """Returns the corners (4,) of a person's box or, where there is none, of the keypoints; None without any."""
    box: FloatArray = frame.boxes[person]
    keypoints: FloatArray = frame.keypoints[person]
    if np.isfinite(box).all():
        return box
    there = keypoints[np.isfinite(keypoints).all(axis=-1)]
    return np.concatenate([there.min(axis=0), there.max(axis=0)]) if len(there) else None


def _read_mat(path: Path) -> PoseSequence:
    variables, header = _load_mat(path)
    (release,) = _structs(variables.get("RELEASE")) or [{}]
    if "annolist" not in release:
        found = ", ".join(variables) or "nothing"
        raise UserError(f"{path}: expected the variable RELEASE of MPII's annotations, with annolist; found {found}")

    names, people = [], []
    for i, entry in enumerate(_structs(release["annolist"])):
        (image,) = _structs(entry.get("image")) or [{}]
        names.append(_text(image.get("name"), f"{path}: RELEASE.annolist({i + 1}).image.name"))  # as MATLAB counts
        people.append(_structs(entry.get("annorect")))

    places = [place for own in people for place in range(len(own))]
    points = [_points(person) for own in people for person in own]
    keypoints = np.full((len(places), len(MPII16), 2), np.nan)
    for row, own in enumerate(points):
        _place_points(own or [], keypoints[row])

    original = _Mat(variables, header, keypoints, places)
    posed = np.array([own is not None for own in points], bool)
    ends = np.cumsum([len(own) for own in people], dtype=np.int64)
    frames = []
    for name, own, end in zip(names, people, ends.tolist(), strict=True):
        rows = np.arange(end - len(own), end)
        corners = np.array([[_number(person.get(key)) for key in _HEAD_BOX] for person in own])
        frame = Frame(name, MPII16, keypoints[rows], head_boxes=_head_boxes(corners), posed=posed[rows], records=rows)
        frames.append(frame)
    return PoseSequence(path.stem, frames, original)


def _unposed_structs(sequence: PoseSequence) -> list[list[FloatArray]]:
    """Returns for each image of a .mat file the regions of the people without joints."""
    (release,) = _structs(sequence.original.variables["RELEASE"])
    regions = []
    for entry, frame in zip(_structs(release["annolist"]), sequence.frames, strict=True):
        own: list[FloatArray] = []
        for person, is_posed in zip(_structs(entry.get("annorect")), frame.is_posed.tolist(), strict=True):
            own += [] if is_posed else _square(*_place(person))
        regions.append(own)
    return regions


def _place(person: Struct) -> tuple[float, float, float]:
    """Returns x and y of a person's centre, whose pixels count from 1, and the scale; NaN for what is not there."""
    (centre,) = _structs(person.get("objpos"))[:1] or [{}]
    return _number(centre.get("x")), _number(centre.get("y")), _number(person.get("scale"))


def _unposed_records(sequence: PoseSequence) -> list[list[FloatArray]]:
    """Returns for each image of a list of records the regions of the people without joints."""
    regions = []
    for frame in sequence.frames:
        own = []
        for row in frame.records[~frame.is_posed].tolist():
            record = sequence.original.document[row]
            centre = record.get("center")
            x, y = centre if isinstance(centre, list) and len(centre) == 2 else (None, None)
            own += _square(*(_plain_number(value) for value in (x, y, record.get("scale"))))
        regions.append(own)
    return regions


def _square(x: float, y: float, scale: float) -> list[FloatArray]:
    """Returns the square (4, 2) about a person of that centre and scale, 1.25 times as high; nothing if one is NaN."""
    half = 1.25 * _REFERENCE_HEIGHT * scale / 2
    if not math.isfinite(x + y + half):
        return []
    return [np.array([[x, y]]) - 1 + half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])]


def _load_mat(path: Path) -> tuple[dict[str, Any], bytes]:
    """Returns the variables of a .mat file, in MATLAB's own classes, and the file's first bytes.

    Raises:
        UserError: It is absent or cannot be read.
    """
    try:
        content = read_bytes(path)
        _refuse_damaged(content, path)
        variables = scipy.io.loadmat(io.BytesIO(content), mat_dtype=True)
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: too large for the memory, or damaged") from None
    except Exception as error:  # a broken file can lead scipy anywhere
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise UserError(f"{path}: cannot be read as a .mat file ({reason}); save it anew") from None
    return {name: value for name, value in variables.items() if not name.startswith("__")}, content[:_HEADER_LENGTH]


def _refuse_damaged(content: bytes, path: Path) -> None:
    """Refuses what scipy cannot be trusted with: it reads the structure of a file unchecked, and can crash.

    Of compressed variables, as MATLAB writes them, the checksums are looked at. Others have none, so that another
    process has to survive them first.

    Raises:
        UserError: The file is of another version or damaged.
        Exception: It is damaged.
    """
    if content[512:520] == _HDF5:
        raise UserError(f"{path}: of version 7.3, which is not read; save it in MATLAB with the option -v7")
    order = "<" if content[126:128] == b"IM" else ">"
    place = _DATA_START
    while place < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        if kind != _COMPRESSED:
            _read_by_another_process(path)
            return
        zlib.decompress(content[place + 8 : place + 8 + length])
        place += 8 + length


def _read_by_another_process(path: Path) -> None:
    """Refuses a file that scipy crashes on.

    Raises:
        UserError: It does.
    """
    program = "import sys, scipy.io; scipy.io.loadmat(sys.argv[1], mat_dtype=True, appendmat=False)"
    if subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=False).returncode:
        raise UserError(f"{path}: cannot be read as a .mat file; save it anew")


def _structs(value: Any) -> list[Struct]:
    """Returns the structs of an array, be it of one, of many or of none; none of what is no array of structs."""
    if not isinstance(value, np.ndarray) or value.dtype.names is None:
        return []
    return [dict(zip(value.dtype.names, values, strict=True)) for values in value.reshape(-1).tolist()]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size != 1:
        raise UserError(f"{where}: expected a text, found {_summary(value)}")
    return str(value.item())


def _number(value: Any) -> float:
    """Returns a number, which MATLAB has in an array of one; NaN for what is none."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "fiub":
        return np.nan
    return float(value.item())


def _summary(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else "none"


def _points(person: Struct) -> list[Struct] | None:
    """Returns the points of a person; None where the person has no list of points."""
    holders = _structs(person.get("annopoints"))
    if not holders or "point" not in holders[0]:
        return None
    return _structs(holders[0]["point"])


def _place_points(points: list[Struct], keypoints: FloatArray) -> None:
    """Enters points into keypoints (16, 2); of two points of one keypoint the first counts, others are passed over."""
    for point in reversed(points):
        keypoint = _number(point.get("id"))
        if keypoint in _KEYPOINTS:
            x, y = _number(point.get("x")), _number(point.get("y"))
            keypoints[int(keypoint)] = (x - 1, y - 1) if math.isfinite(x + y) else np.inf


def _release_onto(original: _Mat, sequence: PoseSequence) -> NDArray[Any]:
    """Returns the original RELEASE with the poses of the sequence; what has not changed is the same arrays."""
    release = original.variables["RELEASE"].copy()  # of references: the arrays in it are shared
    annolist = release["annolist"].reshape(-1)[0].copy()
    entries = annolist.reshape(-1)  # a view
    for entry, own_frame in zip(entries, sequence.frames, strict=True):
        people = _structs(entry["annorect"])
        updated = list(_updated_people(original, own_frame.in_skeleton(MPII16), people))
        if len(updated) != len(people) or any(new is not old for new, old in zip(updated, people, strict=True)):
            entry["annorect"] = _struct_array(updated)
    release.reshape(-1)[0]["annolist"] = annolist
    return np.asarray(release)


def _updated_people(original: _Mat, frame: Frame, people: list[Struct]) -> Iterator[Struct]:
    """Yields the people of an image as they are, or with the poses that differ; new ones come last."""
    order = np.argsort(frame.records == NO_RECORD, kind="stable").tolist()
    for person in order:
        row = int(frame.records[person])
        if row == NO_RECORD:
            yield _annorect(frame, person)
            continue
        place = original.places[row]
        is_same = _same_keypoints(original.keypoints[row], frame.keypoints[person])
        if is_same.all():
            yield people[place]
        else:
            points = _updated_points(_points(people[place]) or [], frame.keypoints[person], is_same)
            yield {**people[place], "annopoints": _struct_array([{"point": _struct_array(points)}])}


def _updated_points(points: list[Struct], keypoints: FloatArray, is_same: NDArray[np.bool_]) -> list[Struct]:
    """Returns a person's points with other coordinates where they differ, without those that are missing."""
    is_there = np.isfinite(keypoints).all(axis=-1) | is_same
    left = {keypoint: place for keypoint, place in enumerate(keypoints.tolist()) if is_there[keypoint]}
    updated = []
    for point in points:
        number = _number(point.get("id"))
        if number not in left:
            continue
        keypoint = int(number)
        place = left.pop(keypoint)
        updated.append(point if is_same[keypoint] else {**point, **_coordinates(place)})
    return updated + [_point(keypoint, place) for keypoint, place in left.items() if not is_same[keypoint]]


def _coordinates(place: Sequence[float]) -> Struct:
    return {"x": np.array([[place[0] + 1]]), "y": np.array([[place[1] + 1]])}


def _point(keypoint: int, place: Sequence[float]) -> Struct:
    return {**_coordinates(place), "id": np.array([[float(keypoint)]]), "is_visible": _EMPTY}


def _struct_array(structs: Sequence[Struct]) -> NDArray[Any]:
    """Returns structs as MATLAB's array of them (1, n), all with the fields of all; an empty array for none."""
    names = list(dict.fromkeys(name for struct in structs for name in struct))
    if not names:
        return _EMPTY
    array = np.empty((1, len(structs)), [(name, object) for name in names])
    for i, fields in enumerate(structs):
        for name in names:
            array[name][0, i] = fields.get(name, _EMPTY)
    return array


def _release_from_scratch(sequence: PoseSequence) -> NDArray[Any]:
    entries = []
    for own_frame in sequence.frames:
        frame = own_frame.in_skeleton(MPII16)
        people = [_annorect(frame, person) for person in range(len(frame))]
        entries.append({"image": _struct_array([{"name": frame.image}]), "annorect": _struct_array(people)})
    is_training = np.ones((1, len(entries)))  # 0 stands for test images, whose people have no poses
    return _struct_array([{"annolist": _struct_array(entries), "img_train": is_training}])


def _annorect(frame: Frame, person: int) -> Struct:
    """Returns a person who was not read from such a file."""
    keypoints = frame.keypoints[person]
    there = np.flatnonzero(np.isfinite(keypoints).all(axis=-1)).tolist()
    points = [_point(keypoint, keypoints[keypoint].tolist()) for keypoint in there]
    annorect: Struct = {"annopoints": _struct_array([{"point": _struct_array(points)}])}
    if (extent := _extent(frame, person)) is not None:
        center = ((extent[:2] + extent[2:]) / 2 + 1).tolist()
        annorect["scale"] = np.array([[(extent[3] - extent[1]) / _REFERENCE_HEIGHT]])
        annorect["objpos"] = _struct_array([{"x": np.array([[center[0]]]), "y": np.array([[center[1]]])}])
    head_box = frame.head_boxes[person]
    if np.isfinite(head_box).all():
        annorect |= {key: np.array([[corner + 1]]) for key, corner in zip(_HEAD_BOX, head_box.tolist(), strict=True)}
    return annorect


def _save_mat(variables: dict[str, Any], header: bytes, path: Path) -> None:
    """Writes a .mat file whose first bytes do not say when, so that the same content makes the same file.

    Raises:
        UserError: It cannot be written.
    """
    with replacing(path) as temporary:
        try:
            scipy.io.savemat(temporary, variables, appendmat=False, long_field_names=True, do_compression=True)
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: cannot be written as a .mat file ({error})") from None
        with temporary.open("r+b") as file:
            file.write(header.ljust(_HEADER_LENGTH))
