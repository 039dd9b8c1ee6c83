"""The official .mat file of MPII Human Pose (MATLAB version 5 to 7.2), as far as it is about people and their joints."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.poses import BoolArray, FloatArray, IntArray
from hpr.skeleton import MPII16

HEAD_BOX = ("x1", "y1", "x2", "y2")
"""Names of the corners of a head box, in records as well."""

_DATA_START = 128
_COMPRESSED = 15  # miCOMPRESSED: the kind of a variable in MATLAB's description of its MAT-files
_HDF5 = b"\x89HDF\r\n\x1a\n"
_JOINTS = frozenset(range(len(MPII16)))

Struct = dict[str, Any]
"""The fields of one MATLAB struct: arrays, each of which may hold structs again."""


class MatPeople(NamedTuple):
    """The M people of a file; all pixels count from 1.

    Attributes:
        images: Names of the images.
        image_indices: (M,) which image each person is in.
        joints: (M, 16, 2); NaN for those that are missing, infinite for those whose coordinates are no numbers.
        posed: (M,) who has a list of joints.
        head_boxes: (M, 4) x1, y1, x2, y2; NaN for corners that are not there.
        centres: (M, 2); NaN where there is none.
        scales: (M,) size of the people in 200 pixels; NaN where there is none.
    """

    images: list[str]
    image_indices: IntArray
    joints: FloatArray
    posed: BoolArray
    head_boxes: FloatArray
    centres: FloatArray
    scales: FloatArray


def read_mat(path: Path) -> MatPeople:
    """Reads a file.

    Raises:
        UserError: It is absent, damaged or of another kind.
    """
    variables = _load(path)
    (release,) = _structs(variables.get("RELEASE")) or [{}]
    if "annolist" not in release:
        found = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
        raise UserError(f"{path}: expected the variable RELEASE of MPII's annotations, with annolist; found {found}")

    images, people, image_indices = [], [], []
    for i, entry in enumerate(_structs(release["annolist"])):
        (image,) = _structs(entry.get("image")) or [{}]
        images.append(_text(image.get("name"), f"{path}: RELEASE.annolist({i + 1}).image.name"))  # as MATLAB counts
        own = _structs(entry.get("annorect"))
        people += own
        image_indices += [i] * len(own)

    points = [_points(person) for person in people]
    centres = [(_structs(person.get("objpos"))[:1] or [{}])[0] for person in people]
    return MatPeople(
        images,
        np.array(image_indices, np.int64),
        np.array([_joints(own or []) for own in points]).reshape(-1, len(MPII16), 2),
        np.array([own is not None for own in points], bool),
        np.array([[_number(person.get(key)) for key in HEAD_BOX] for person in people]).reshape(-1, 4),
        np.array([[_number(centre.get(axis)) for axis in "xy"] for centre in centres]).reshape(-1, 2),
        np.array([_number(person.get("scale")) for person in people], np.float64),
    )


def _load(path: Path) -> dict[str, Any]:
    """Returns the variables of a file, in MATLAB's own classes."""
    try:
        content = read_bytes(path)
        _refuse_damaged(content, path)
        variables: dict[str, Any] = scipy.io.loadmat(io.BytesIO(content), mat_dtype=True)
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: too large for the memory, or damaged") from None
    except Exception as error:  # a broken file can lead scipy anywhere
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise UserError(f"{path}: cannot be read as a .mat file ({reason}); save it anew") from None
    return variables


def _refuse_damaged(content: bytes, path: Path) -> None:
    """Refuses what scipy cannot be trusted with: it reads the structure of a file unchecked, and can crash.

    The checksums of compressed variables, as MATLAB writes them, are verified. Others have none, so that another
    process has to survive reading them first.

    Raises:
        UserError: The file is of another version or damaged.
        Exception: It is damaged.
    """
    if content[512:520] == _HDF5:
        raise UserError(f"{path}: of version 7.3, which is not read; save it in MATLAB with the option -v7")

    order = "<" if content[126:128] == b"IM" else ">"
    offset = _DATA_START
    while offset < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, offset)
        if kind != _COMPRESSED:
            _read_in_another_process(path)
            return
        zlib.decompress(content[offset + 8 : offset + 8 + length])
        offset += 8 + length


def _read_in_another_process(path: Path) -> None:
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
        found = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else "none"
        raise UserError(f"{where}: expected a text, found {found}")
    return str(value.item())


def _number(value: Any) -> float:
    """Returns a number, which MATLAB has in an array of one; NaN for what is none."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "fiub":
        return np.nan
    return float(value.item())


def _points(person: Struct) -> list[Struct] | None:
    """Returns the points of a person; None where the person has no list of points."""
    holders = _structs(person.get("annopoints"))
    if not holders or "point" not in holders[0]:
        return None
    return _structs(holders[0]["point"])


def _joints(points: list[Struct]) -> FloatArray:
    """Returns the joints (16, 2) of points; of two points of one joint the first counts, others are passed over."""
    joints = np.full((len(MPII16), 2), np.nan)
    for point in reversed(points):
        joint = _number(point.get("id"))
        if joint in _JOINTS:
            place = np.array([_number(point.get("x")), _number(point.get("y"))])
            joints[int(joint)] = place if np.isfinite(place).all() else np.inf
    return joints
