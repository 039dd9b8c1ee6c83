"""Poses in the arrays of an .npz file, for people who have them in numpy (docs/notes/formats.md)."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import read_bytes, replacing
from hpr.formats import fields
from hpr.formats.base import Format
from hpr.formats.records import ImageEntry, Original, gather_people
from hpr.poses import NO_RECORD, Frame, IntArray, PoseSequence
from hpr.skeleton import SKELETONS, Skeleton, get_skeleton, named_skeleton

Array = NDArray[Any]

_NUMBERS = ("scores", "flags", "boxes", "head_boxes", "person_scores")  # fields of `Frame` that a file can have
_IMAGES = ("images", "frames", "all_images", "all_frames")
_KNOWN = ("keypoints", *_NUMBERS, *_IMAGES, "track_ids", "skeleton", "keypoint_names")

_MAX_NUMBER = 2**31
_KINDS = {"fiu": "numbers", "fiub": "numbers", "iu": "whole numbers", "U": "texts"}  # of numpy's types


class Arrays(Format):
    """Reader and writer of .npz files, one sequence each."""

    name = "npz"
    ending = ".npz"
    looks_like = "an .npz file with keypoints (N, K, 2), skeleton, and frames (N,) or images (N,)"
    skeletons = tuple(SKELETONS.values())
    metric = "oks"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return path.suffix == ".npz"

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of `all_images` or `all_frames`, else as the people name them."""
        arrays, others = _load(path)
        skeleton = _check_arrays(arrays, path)
        keypoints = arrays["keypoints"].astype(np.float64)
        keypoints[np.isinf(keypoints).any(axis=-1)] = np.inf
        keypoints[np.isnan(arrays["keypoints"]).any(axis=-1)] = np.nan

        values: dict[str, Any] = {name: arrays[name].astype(np.float64) for name in _NUMBERS if name in arrays}
        if "track_ids" in arrays:  # a negative number and an empty text stand for none
            ids = arrays["track_ids"].tolist()
            values["track_ids"] = tuple(None if i == "" or (isinstance(i, int) and i < 0) else i for i in ids)
        people = Frame("", skeleton, keypoints, records=np.arange(len(keypoints)), **values)

        images, indices = _read_images(arrays, len(keypoints), path)
        return [Original(images, indices, [], people, others, arrays, self.name).sequence(path.stem)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch in the skeleton of the first frame."""
        (sequence,) = sequences
        original = sequence.original
        if isinstance(original, Original) and original.format_name == self.name:
            _save(_arrays_onto(original, sequence.frames), original.details, path)
        else:
            _save(_new_arrays(sequence.frames), {}, path)


# Reading


def _load(path: Path) -> tuple[dict[str, Array], dict[str, bytes]]:
    """Returns the known arrays of a file and the bytes of everything else in it; refuses broken files."""
    arrays: dict[str, Array] = {}
    others: dict[str, bytes] = {}
    content = io.BytesIO(read_bytes(path))
    broken = fields.refuse_broken(f"{path}: cannot be read as an .npz file", "write it with np.savez")
    with broken, zipfile.ZipFile(content) as archive:
        for part in archive.namelist():
            name = part.removesuffix(".npy")
            if name in _KNOWN:
                arrays[name] = _load_array(archive.read(part), f"{path}: {name}")
            else:
                others[part] = archive.read(part)
    return arrays, others


def _load_array(content: bytes, where: str) -> Array:
    """Returns an array; a pickled one, which could run code, is refused."""
    expected = "expected an array of numbers or of texts"
    with fields.refuse_broken(f"{where}: cannot be read", expected):
        try:
            array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise UserError(f"{where}: holds Python objects; {expected}") from None
    return array


def _check_arrays(arrays: dict[str, Array], path: Path) -> Skeleton:
    """Returns the skeleton of the poses; refuses arrays of other kinds and shapes."""
    if "keypoints" not in arrays:
        raise UserError(f"{path}: expected the array keypoints (N, K, 2), found {', '.join(arrays) or 'none we know'}")
    keypoints = arrays["keypoints"]
    if keypoints.ndim != 3 or keypoints.shape[2] != 2:
        hint = "; put the scores into an array scores (N, K)" if keypoints.shape[2:] == (3,) else ""
        raise UserError(f"{path}: keypoints: expected the shape (N, K, 2), found {keypoints.shape}{hint}")

    people, count, _ = keypoints.shape
    lengths = {name: (arrays[name].size if name in arrays else 0,) for name in ("all_images", "all_frames")}
    has_texts = "track_ids" in arrays and arrays["track_ids"].dtype.kind == "U"
    expected = {
        "keypoints": (keypoints.shape, "fiu"),
        "scores": ((people, count), "fiu"),
        "flags": ((people, count), "fiub"),
        "boxes": ((people, 4), "fiu"),
        "head_boxes": ((people, 4), "fiu"),
        "person_scores": ((people,), "fiu"),
        "images": ((people,), "U"),
        "frames": ((people,), "iu"),
        "all_images": (lengths["all_images"], "U"),
        "all_frames": (lengths["all_frames"], "iu"),
        "track_ids": ((people,), "U" if has_texts else "iu"),
    }
    for name, (shape, kinds) in expected.items():
        if name in arrays:
            _check(arrays[name], shape, kinds, f"{path}: {name}")
    for name in ("frames", "all_frames"):
        if name in arrays and ((arrays[name] < 0) | (arrays[name] >= _MAX_NUMBER)).any():
            raise UserError(f"{path}: {name}: expected the numbers of images in the video, from 0, found others")
    return _read_skeleton(arrays, count, path)


def _check(array: Array, shape: tuple[int, ...], kinds: str, where: str) -> None:
    """Refuses an array of another shape or kind."""
    if array.shape != shape:
        raise UserError(f"{where}: expected the shape {shape}, found {array.shape}")
    if array.dtype.kind not in kinds:
        raise UserError(f"{where}: expected {_KINDS[kinds]}, found {array.dtype}")


def _read_skeleton(arrays: dict[str, Array], count: int, path: Path) -> Skeleton:
    """Returns the skeleton that a file names, or lists the keypoints of."""
    named, listed = arrays.get("skeleton"), arrays.get("keypoint_names")
    known, skeleton = ", ".join(SKELETONS), None
    if named is None and listed is None:
        expected = f"skeleton (one of {known}) or keypoint_names ({count} texts)"
        raise UserError(f"{path}: expected the array {expected}, found none")
    if named is not None:
        _check(named.reshape(-1), (1,), "U", f"{path}: skeleton")
        try:
            skeleton = get_skeleton(str(named.item()))
        except UserError:
            raise UserError(f"{path}: skeleton: expected one of {known}, found {str(named.item())!r}") from None
        if len(skeleton) != count:
            expected = f"expected the {len(skeleton)} keypoints of {skeleton.name}"
            raise UserError(f"{path}: keypoints: {expected}, found {count}")

    if listed is not None:
        where = f"{path}: keypoint_names"
        _check(listed, (count,), "U", where)
        names = tuple(listed.tolist())
        if not names or len(set(names)) < count:
            raise UserError(f"{where}: expected each name once, found {', '.join(names) or 'none'}")
        own = named_skeleton(names, where)
        if skeleton is not None and own.names != skeleton.names:
            raise UserError(f"{where}: expected those of the skeleton {skeleton.name}, found others; leave out one")
        skeleton = own
    assert skeleton is not None
    return skeleton


def _read_images(arrays: dict[str, Array], people: int, path: Path) -> tuple[list[ImageEntry], IntArray]:
    """Returns the images, and the index (N,) of the image that each of the people is in; refuses what does not say it.

    An image without a name is called like AlphaPose's frames of a video.
    """
    keys = [name for name in ("images", "frames") if name in arrays or f"all_{name}" in arrays]
    if people and not keys:
        raise UserError(f"{path}: expected the array frames (N,) or images (N,), which image each person is in")
    listed = [f"all_{name}" for name in keys if f"all_{name}" in arrays]
    for name in keys:
        if people and name not in arrays:
            raise UserError(f"{path}: expected the array {name} (N,) beside all_{name}, found none")
        if listed and f"all_{name}" not in arrays:
            raise UserError(f"{path}: expected the array all_{name} beside {listed[0]}, found none")
    if len({len(arrays[name]) for name in listed}) > 1:
        raise UserError(f"{path}: expected as many all_images as all_frames, found different numbers")

    own = list(zip(*(arrays[name].tolist() for name in keys), strict=True)) if people else []
    every = dict.fromkeys(zip(*(arrays[name].tolist() for name in listed), strict=True) if listed else own)
    if keys == ["frames"] and not listed:
        every = dict.fromkeys(sorted(every))
    index_of = {key: index for index, key in enumerate(every)}
    for row, key in enumerate(own):
        if key not in index_of:
            found = ", ".join(str(part) for part in key)
            raise UserError(f"{path}: {keys[0]}[{row}]: expected an image of {listed[0]}, found {found}")

    values = [dict(zip(keys, key, strict=True)) for key in every]
    images = [ImageEntry(v.get("images", f"{v.get('frames')}.jpg"), number=v.get("frames")) for v in values]
    return images, np.array([index_of[key] for key in own], np.int64)


# Writing


def _arrays_onto(original: Original, frames: Sequence[Frame]) -> dict[str, Array]:
    """Returns the arrays of a file with the poses of frames; rows of people who are gone are left out."""
    has_texts = "track_ids" in original.document and original.document["track_ids"].dtype.kind == "U"
    people, new = _people_arrays(frames, original.people.skeleton, has_texts)
    order = np.lexsort((people.records, people.records == NO_RECORD))  # new people come last
    kept = people.records[order[: int((people.records != NO_RECORD).sum())]]

    arrays = dict(original.document)
    for name in arrays.keys() & new.keys():
        before, values = original.document[name][kept], new[name][order]
        if name in ("keypoints", "scores", "flags", "person_scores"):
            read, after = getattr(original.people, name)[kept], values[: len(kept)]
            is_same = (after == read) | (np.isnan(after) & np.isnan(read))
            if not is_same.all():  # in the array's own type, if that holds the values
                is_precise = before.dtype.kind == "f" and before.dtype.itemsize >= np.dtype(np.float32).itemsize
                before = before.astype(before.dtype if is_precise else np.float64)
                before[~is_same] = after[~is_same]
        arrays[name] = np.concatenate([before, values[len(kept) :]]) if len(values) > len(kept) else before
    return arrays


def _new_arrays(frames: Sequence[Frame]) -> dict[str, Array]:
    """Returns the arrays of a new file, without those in which nobody has a value."""
    skeleton = frames[0].skeleton if frames else Arrays.skeletons[0]
    people, everything = _people_arrays(frames, skeleton, False)
    arrays = {name: array for name, array in everything.items() if name not in _NUMBERS or not np.isnan(array).all()}
    if all(track_id in (None, "") for track_id in people.track_ids):
        del arrays["track_ids"]
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


def _people_arrays(frames: Sequence[Frame], skeleton: Skeleton, has_texts: bool) -> tuple[Frame, dict[str, Array]]:
    """Returns everyone in some frames, and their arrays, with track ids as texts if there are or have been such."""
    people, indices = gather_people(frames, skeleton)
    arrays: dict[str, Array] = {name: getattr(people, name) for name in ("keypoints", *_NUMBERS)}
    arrays["images"] = np.array([frame.image for frame in frames], np.str_)[indices]
    arrays["frames"] = np.array([frame.number or 0 for frame in frames], np.int64)[indices]

    ids = people.track_ids
    if has_texts or not all(i is None or (isinstance(i, int) and 0 <= i < _MAX_NUMBER) for i in ids):
        arrays["track_ids"] = np.array(["" if track_id is None else str(track_id) for track_id in ids], np.str_)
    else:
        arrays["track_ids"] = np.array([-1 if track_id is None else track_id for track_id in ids], np.int64)
    return people, arrays


def _save(arrays: Mapping[str, Array], others: Mapping[str, bytes], path: Path) -> None:
    """Writes an .npz file; its parts carry no date, so that the same content makes the same file."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.save(content, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
        for part, raw in others.items():
            archive.writestr(zipfile.ZipInfo(part), raw, zipfile.ZIP_DEFLATED)
