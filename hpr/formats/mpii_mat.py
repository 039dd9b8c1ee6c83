"""The official .mat file of MPII Human Pose (MATLAB version 5 to 7.2), read as records like HRNet's."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.formats import fields
from hpr.formats.records import Record
from hpr.skeleton import MPII16

_DATA_START = 128
_COMPRESSED = 15  # miCOMPRESSED: the kind of a variable in MATLAB's description of its MAT-files
_HDF5 = b"\x89HDF\r\n\x1a\n"
_JOINTS = range(len(MPII16))

Struct = dict[str, Any]
"""The fields of one MATLAB struct: arrays, each of which may hold structs again."""


def read_mat(path: Path) -> tuple[list[str], list[Record]]:
    """Returns the names of all images, and a record for each person in them; see `mpii.Mpii`.

    Raises:
        UserError: The file is absent, damaged or of another kind.
    """
    import scipy.io  # only where .mat files are read

    content = read_bytes(path)
    with fields.refuse_broken(f"{path}: cannot be read as a .mat file", "save it anew"):
        _refuse_damaged(content, path)
        variables: Struct = scipy.io.loadmat(io.BytesIO(content), mat_dtype=True)

    (release,) = _structs(variables.get("RELEASE")) or [{}]
    if "annolist" not in release:
        found = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
        raise UserError(f"{path}: expected the variable RELEASE of MPII's annotations, with annolist; found {found}")

    images, records = [], []
    for i, entry in enumerate(_structs(release["annolist"])):
        (image,) = _structs(entry.get("image")) or [{}]
        name = image.get("name")
        if not isinstance(name, np.ndarray) or name.dtype.kind != "U" or name.size != 1:
            found = f"an array of shape {name.shape}" if isinstance(name, np.ndarray) else "none"
            where = f"{path}: RELEASE.annolist({i + 1}).image.name"  # as MATLAB counts
            raise UserError(f"{where}: expected a text, found {found}")
        images.append(str(name.item()))
        records += [{"image": images[-1], **_record(person)} for person in _structs(entry.get("annorect"))]
    return list(dict.fromkeys(images)), records


def _record(person: Struct) -> Record:
    """Returns the record of a person, with NaN for what is not there."""
    (centre,) = _structs(person.get("objpos"))[:1] or [{}]
    record: Record = {key: _number(person.get(key)) for key in (*fields.CORNERS, "scale")}
    record["center"] = [_number(centre.get(axis)) for axis in "xy"]
    holders = _structs(person.get("annopoints"))
    if not holders or "point" not in holders[0]:
        return record

    joints, flags = [[-1.0, -1.0] for _ in _JOINTS], [0 for _ in _JOINTS]
    for point in reversed(_structs(holders[0]["point"])):  # of two points of one joint the first counts
        joint = _number(point.get("id"))
        if joint in _JOINTS:
            joints[int(joint)], flags[int(joint)] = [_number(point.get(axis)) for axis in "xy"], 1
    return {**record, "joints": joints, "joints_vis": flags}


def _refuse_damaged(content: bytes, path: Path) -> None:
    """Refuses a damaged file by the checksums of compressed variables: scipy can crash on it. Also version 7.3."""
    if content[512:520] == _HDF5:
        raise UserError(f"{path}: of version 7.3, which is not read; save it in MATLAB with the option -v7")

    order = "<" if content[126:128] == b"IM" else ">"
    offset = _DATA_START
    while offset < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, offset)
        if kind == _COMPRESSED:
            zlib.decompress(content[offset + 8 : offset + 8 + length])
        offset += 8 + length


def _structs(value: Any) -> list[Struct]:
    """Returns the structs of an array, be it of one, of many or of none; none of what is no array of structs."""
    if not isinstance(value, np.ndarray) or value.dtype.names is None:
        return []
    return [dict(zip(value.dtype.names, values, strict=True)) for values in value.reshape(-1).tolist()]


def _number(value: Any) -> float:
    """Returns a number, which MATLAB has in an array of one; NaN for what is none."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "fiub":
        return np.nan
    return float(value.item())
