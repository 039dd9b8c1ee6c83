"""MPII Human Pose: the list of records that HRNet's code base made of it, and the official .mat file, read only.

The pixels of both count from 1 (HRNet's lib/dataset/mpii.py subtracts it), those of a `Frame` from 0.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats import fields
from hpr.formats.base import pose_files
from hpr.formats.mpii_mat import read_mat
from hpr.formats.records import ImageEntry, Original, Record, RecordFormat, group_by_name
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import MPII16

_REFERENCE_HEIGHT = 200.0  # pixels of a person of scale 1

_NO_JOINTS = [[-1.0, -1.0]] * len(MPII16)  # as records of the test images have them
_HIDDEN, _VISIBLE = [0.0] * len(MPII16), [1.0] * len(MPII16)


class Mpii(RecordFormat):
    """Reader of both, one sequence each, and writer of records.

    A .mat file is only read: poses that were read from one are written as records from scratch, into a .json file.
    """

    name = "mpii"
    looks_like = "a .mat file with RELEASE.annolist, or a JSON list of records with image, joints, center and scale"
    skeletons = (MPII16,)
    metric = "pckh"
    compared = ("keypoints", "flags")

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. Of a folder its .json files or, where it has none, its .mat files."""
        has_records = not location.is_dir() or any(location.glob("*.json"))
        return pose_files(location, ".json" if has_records else ".mat")

    def output_name(self, source: Path) -> str:
        """See `Format`. Of a .mat file, the name of the records that are written instead."""
        return source.with_suffix(".json").name if source.suffix == ".mat" else source.name

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        first = document[0] if isinstance(document, list) and document else None
        has_records = isinstance(first, dict) and "image" in first and bool({"joints", "center"} & first.keys())
        return has_records or path.suffix == ".mat"

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of the file, each with its people in the order of the file."""
        return [self._with_records(path)[0]]

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The region of a person without joints is the square of the person's centre and scale."""
        sequence, records = self._with_records(path)
        frames = []
        for frame in sequence.frames:
            squares = [_square(records[row]) for row in frame.records[~frame.is_posed].tolist()]
            regions = tuple(square for square in squares if np.isfinite(square).all())
            frames.append(replace(frame, ignore_regions=regions))
        return [replace(sequence, frames=frames)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        if path.suffix == ".mat":
            raise UserError(f"{path}: .mat files are only read; choose an output that ends in .json")
        super().write(sequences, path)

    def _with_records(self, path: Path) -> tuple[PoseSequence, list[Record]]:
        """Returns the sequence of a file and its records; a .mat file also has images without people."""
        if path.suffix != ".mat":
            (sequence,) = super().read(path)
            return sequence, sequence.original.records
        images, records = read_mat(path)
        sequence = self._sequence(records, path)
        frames = {frame.image: frame for frame in sequence.frames}
        everyone = [frames.get(image) or Frame.empty(image, MPII16) for image in images]
        return PoseSequence(sequence.name, everyone), records

    def _parse(self, document: Any, path: Path) -> Original:
        records = fields.expect(document, list, str(path))
        wheres = [f"{path}: [{row}]" for row in range(len(records))]
        names, indices = group_by_name(fields.column(records, wheres, "image", str))

        lists = [record.get("joints") or _NO_JOINTS for record in records]
        joints = fields.number_table(lists, (len(MPII16), 2), wheres, "joints")
        posed = np.array([bool(record.get("joints")) for record in records], bool)
        visible = [record.get("joints_vis") if record.get("joints") else _HIDDEN for record in records]
        visible = [_VISIBLE if flags is None else flags for flags in visible]  # joints without flags are visible
        flags = np.nan_to_num(fields.number_table(visible, (len(MPII16),), wheres, "joints_vis"))

        is_missing = (flags == 0) & ~(joints > 0).any(axis=-1)  # such as (-1, -1)
        corners = [[fields.number_or_nan(record.get(key)) for key in fields.CORNERS] for record in records]
        head_boxes = fields.boxes(corners) - 1
        head_boxes[~np.isfinite(head_boxes).all(axis=1)] = np.nan
        arrays = {"flags": flags, "head_boxes": head_boxes, "posed": posed}
        people = self._people(records, wheres, MPII16, fields.keypoints_of(joints - 1, is_missing), **arrays)
        return Original([ImageEntry(name) for name in names], indices, records, people)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        """See `RecordFormat`. Joints that are the same are kept to the last digit."""
        joints, flags = _written(people, person)
        old, new = original.people.keypoints[people.records[person]], people.keypoints[person]
        is_same = ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=-1).tolist()
        pairs = zip(record.get("joints") or joints, joints, is_same, strict=True)
        return {**record, "joints": [before if same else after for before, after, same in pairs], "joints_vis": flags}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        joints, flags = _written(people, person)
        record: Record = {"joints": joints, "joints_vis": flags}
        if (extent := fields.extent(people, person)) is not None:
            record["center"] = fields.plain((extent[:2] + extent[2:]) / 2 + 1)
            record["scale"] = float(extent[3] - extent[1]) / _REFERENCE_HEIGHT
        head_box = people.head_boxes[person]
        has_head_box = np.isfinite(head_box).all()
        return record | (dict(zip(fields.CORNERS, fields.plain(head_box + 1), strict=True)) if has_head_box else {})

    def _new_heads(self, frames: Sequence[Frame], indices: list[int], original: Original) -> list[Record]:
        return [{"image": frames[index].image} for index in indices]


def _square(record: Record) -> FloatArray:
    """Returns the square (4, 2) about a person's centre, 1.25 times as high; not finite if something is missing."""
    centre = record.get("center")
    x, y = centre if isinstance(centre, list) and len(centre) == 2 else (None, None)
    half = 1.25 * _REFERENCE_HEIGHT * fields.number_or_nan(record.get("scale")) / 2
    corners = half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return np.array([[fields.number_or_nan(x), fields.number_or_nan(y)]]) - 1 + corners


def _written(people: Frame, person: int) -> tuple[list[Any], list[Any]]:
    """Returns a person's 16 joints, whose pixels count from 1, and their flags; (-1, -1) and 0 for what is missing."""
    keypoints = people.keypoints[person]
    is_there = np.isfinite(keypoints).all(axis=-1)
    joints = np.where(is_there[:, None], keypoints + 1, -1.0)
    return fields.plain(joints), fields.plain(np.where(is_there, people.flags[person], 0.0))
