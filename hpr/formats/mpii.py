"""MPII Human Pose: the list of records that HRNet's code base made of it, and the official .mat file, read only.

The pixels of both count from 1 (HRNet's lib/dataset/mpii.py subtracts it), those of a `Frame` from 0.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.formats.base import pose_files
from hpr.formats.fields import expect, field, keypoints_of, number_or_nan, number_table, numbers, plain
from hpr.formats.mpii_mat import HEAD_BOX, MatPeople, read_mat
from hpr.formats.records import ImageEntry, Original, Parsed, PlacedRecord, Record, RecordFormat, group_by_name
from hpr.formats.records import split_people
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import MPII16

_REFERENCE_HEIGHT = 200.0
"""Pixels of a person of scale 1."""


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
        """See `Format`."""
        first = document[0] if isinstance(document, list) and document else None
        has_records = isinstance(first, dict) and "image" in first and bool({"joints", "center"} & first.keys())
        return has_records or path.suffix == ".mat"

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of the file, each with its people in the order of the file."""
        return [_mat_sequence(read_mat(path), path)] if path.suffix == ".mat" else super().read(path)

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The region of a person without joints is the square of the person's centre and scale."""
        if path.suffix == ".mat":
            people = read_mat(path)
            sequence, centres, scales = _mat_sequence(people, path), people.centres, people.scales
        else:
            (sequence,) = super().read(path)
            records = sequence.original.records
            centres = np.array([_centre(record.get("center")) for record in records]).reshape(-1, 2)
            scales = np.array([number_or_nan(record.get("scale")) for record in records])

        frames = []
        for frame in sequence.frames:
            rows = frame.records[~frame.is_posed]
            regions = [_square(*own) for own in zip(centres[rows], scales[rows].tolist(), strict=True)]
            frames.append(replace(frame, ignore_regions=tuple(own for own in regions if np.isfinite(own).all())))
        return [replace(sequence, frames=frames)]

    def _parse(self, document: Any, path: Path) -> Parsed:
        records = expect(document, list, str(path))
        owners = [field(record, "image", str, f"{path}: [{row}]") for row, record in enumerate(records)]
        names, image_indices = group_by_name(owners)

        no_joints = [[-1.0, -1.0]] * len(MPII16)  # as those of the test images
        lists = [record.get("joints") or no_joints for record in records]
        joints = number_table(lists, (len(MPII16), 2), lambda row: f"{path}: [{row}].joints")
        flags = _flags(records, path)
        is_missing = (flags == 0) & ~(joints > 0).any(axis=-1)  # such as (-1, -1)
        people = Frame(
            "",
            MPII16,
            keypoints_of(joints - 1, is_missing),
            flags=flags,
            head_boxes=_head_boxes([[number_or_nan(record.get(key)) for key in HEAD_BOX] for record in records]),
            posed=np.array([bool(record.get("joints")) for record in records], bool),
            records=np.arange(len(records)),
        )
        images = [ImageEntry(name) for name in names]
        return Parsed(images, image_indices, Original(self.name, document, records, people))

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        """See `RecordFormat`. Joints that are the same are kept to the last digit."""
        joints, flags = _written(people, person)
        old, new = original.people.keypoints[index], people.keypoints[person]
        is_same = ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=-1).tolist()
        pairs = zip(record.get("joints") or joints, joints, is_same, strict=True)
        return {**record, "joints": [before if same else after for before, after, same in pairs], "joints_vis": flags}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        joints, flags = _written(people, person)
        record: dict[str, Any] = {"joints": joints, "joints_vis": flags}
        if (extent := _extent(people, person)) is not None:
            record["center"] = plain((extent[:2] + extent[2:]) / 2 + 1)
            record["scale"] = float(extent[3] - extent[1]) / _REFERENCE_HEIGHT
        head_box = people.head_boxes[person]
        if np.isfinite(head_box).all():
            record |= dict(zip(HEAD_BOX, plain(head_box + 1), strict=True))
        return record

    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        return [
            {"image": sequence.frames[frame].image, **record} if is_new and frame is not None else record
            for record, frame, is_new in records
        ]


def _mat_sequence(people: MatPeople, path: Path) -> PoseSequence:
    """Returns the people of a .mat file as a sequence without an original, since such files are not written."""
    everyone = Frame(
        "",
        MPII16,
        people.joints - 1,
        head_boxes=_head_boxes(people.head_boxes),
        posed=people.posed,
        records=np.arange(len(people.posed)),
    )
    frames = split_people(everyone, [ImageEntry(name) for name in people.images], people.image_indices)
    return PoseSequence(path.stem, frames)


def _flags(records: Sequence[Record], path: Path) -> FloatArray:
    """Returns the flags (M, 16) of the joints; 1 where a record has joints without flags."""
    flags = np.zeros((len(records), len(MPII16)))
    for row, record in enumerate(records):
        if record.get("joints"):
            given = record.get("joints_vis")
            flags[row] = 1 if given is None else numbers(given, len(MPII16), f"{path}: [{row}].joints_vis")
    return np.nan_to_num(flags)


def _head_boxes(corners: Any) -> FloatArray:
    """Returns boxes (N, 4) whose corners count from 0, of corners from 1; NaN for those that lack a corner."""
    boxes = np.array(corners, np.float64).reshape(-1, 4) - 1
    boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
    return boxes


def _centre(value: Any) -> tuple[float, float]:
    """Returns the centre of a person in a record; NaN where there is none."""
    x, y = value if isinstance(value, list) and len(value) == 2 else (None, None)
    return number_or_nan(x), number_or_nan(y)


def _square(centre: FloatArray, scale: float) -> FloatArray:
    """Returns the square (4, 2) about a person of that centre (2,), whose pixels count from 1; 1.25 times as high."""
    half = 1.25 * _REFERENCE_HEIGHT * scale / 2
    if not math.isfinite(half):
        return np.full((4, 2), np.nan)
    return centre - 1 + half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _written(people: Frame, person: int) -> tuple[list[Any], list[Any]]:
    """Returns a person's 16 joints, whose pixels count from 1, and their flags; (-1, -1) and 0 for what is missing."""
    keypoints = people.keypoints[person]
    is_there = np.isfinite(keypoints).all(axis=-1)
    joints = np.where(is_there[:, None], keypoints + 1, -1.0)
    return plain(joints), plain(np.where(is_there, people.flags[person], 0.0))


def _extent(people: Frame, person: int) -> FloatArray | None:
    """Returns the corners (4,) of a person's box or, where there is none, of the keypoints; None without any."""
    box: FloatArray = people.boxes[person]
    if np.isfinite(box).all():
        return box
    keypoints = people.keypoints[person]
    there = keypoints[np.isfinite(keypoints).all(axis=-1)]
    return np.concatenate([there.min(axis=0), there.max(axis=0)]) if len(there) else None
