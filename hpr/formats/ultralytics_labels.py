"""Ultralytics' labels as text: a file for each image, a line for each person (docs/notes/formats.md, 7.3)."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.formats import fields
from hpr.formats.frame_files import FrameFiles, Scale, video_numbers, written_pose
from hpr.formats.records import ImageEntry, Original, Record
from hpr.poses import FloatArray, Frame, TrackId
from hpr.skeleton import COCO17, Skeleton

_BOX_END = 5  # class, and the box's centre and size
_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
_VIDEO_FRAME = re.compile(r"(?P<video>.*)_(?P<number>0|[1-9]\d{0,8})", re.DOTALL)


class _Labels(NamedTuple):
    """A file: its text, the lines that are about a person, each with its line break, and their numbers from 1."""

    text: str
    lines: list[str]
    line_numbers: list[int]


class UltralyticsLabels(FrameFiles):
    """Reader and writer of folders of labels, of a data set or as `save_txt=True` writes them."""

    name = "ultralytics_labels"
    looks_like = "a folder of .txt files with class, box and keypoints in each line, one for each image"
    skeletons = (COCO17,)
    takes_skeleton = True
    metric = "oks"
    ending = ".txt"
    scale_from_scratch = Scale()

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A file without people is recognised by the files beside it."""
        del document
        if path.suffix != UltralyticsLabels.ending:
            return False
        for file in (path, *sorted(path.parent.glob(f"*{UltralyticsLabels.ending}"))):
            try:
                lines = _read_labels(file).lines
            except UserError:  # another file may tell
                continue
            if lines:
                words = lines[0].split()
                return len(words) > _BOX_END + 2 and all(_NUMBER.fullmatch(word) for word in words)
        return False

    def _load(self, path: Path) -> Any:
        return _read_labels(path)

    def _encoded(self, content: Any) -> bytes:
        return str(content.text).encode()

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        pairs = list(zip(paths, contents, strict=True))
        wheres = [f"{path}: line {number}" for path, content in pairs for number in content.line_numbers]
        lines = [line for content in contents for line in content.lines]
        indices = np.repeat(np.arange(len(paths)), np.array([len(content.lines) for content in contents], np.int64))

        skeleton = self.skeleton or COCO17
        lengths = _lengths(lines, wheres, skeleton, self.skeleton is not None)
        boxes, triples, ends = np.empty((len(lines), 4)), np.full((len(lines), len(skeleton), 3), np.nan), []
        for row, (line, where) in enumerate(zip(lines, wheres, strict=True)):
            boxes[row], dims, numbers, end = _parse_line(line, where, lengths)
            triples[row, :, :dims] = numbers.reshape(len(skeleton), dims)  # (K * dims,) -> (K, dims)
            ends.append(end)

        keypoints, scores, flags = _poses(triples)
        half = boxes[:, 2:] / 2
        confidences, track_ids = _confidences_and_ids(ends, wheres)
        arrays = {
            "scores": scores,
            "flags": flags,
            "boxes": np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1),
            "track_ids": tuple(track_ids),
            "person_scores": confidences,
        }

        # Names of a video's frames count from 1, those of a camera's from 0 (engine/predictor.py, data/loaders.py).
        names = [path.name.removesuffix(self.ending) for path in paths]
        counted = video_numbers(names, _VIDEO_FRAME)
        first = 0 if counted and 0 in counted else 1
        places = [None] * len(names) if counted is None else [number - first for number in counted]
        images = [ImageEntry(name, number=place) for name, place in zip(names, places, strict=True)]
        people = self._people(lines, wheres, skeleton, keypoints, **arrays)
        return Original(images, indices, lines, people, is_counted=True)

    def _scale(self, people: Frame) -> Scale | None:
        """See `FrameFiles`. Labels are always relative."""
        return Scale()

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        words, count = record.split(), len(people.skeleton)
        dims = _dims_of_lengths(count)[len(words)]
        return _line(words[:_BOX_END], _label_pose(people, person)[:, :dims], words[_BOX_END + dims * count :])

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        box = fields.extent(people, person)
        box = np.zeros(4) if box is None else box
        start = ["0", *map(_word, ((box[:2] + box[2:]) / 2).tolist()), *map(_word, (box[2:] - box[:2]).tolist())]

        score, known_id = float(people.person_scores[person]), people.track_ids[person]
        end = [repr(score)] if np.isfinite(score) else []
        end += [str(known_id)] if isinstance(known_id, int) else []
        return _line(start, _label_pose(people, person), end)

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        if content is not None and records == content.lines:
            return content
        ended = [line if line.endswith(("\n", "\r")) else f"{line}\n" for line in records]
        return _Labels("".join(ended), ended, [])


def _read_labels(path: Path) -> _Labels:
    """Returns the lines of a file."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text; repair or remove the file") from None
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    numbers = [number for number, line in enumerate(lines, 1) if line.split()]
    return _Labels(text, [lines[number - 1] for number in numbers], numbers)


def _dims_of_lengths(count: int) -> dict[int, int]:
    """Returns the numbers of a keypoint by the words of a line: class, box, keypoints, perhaps confidence and id."""
    return {_BOX_END + dims * count + rest: dims for dims in (2, 3) for rest in (2, 1, 0)}


def _lengths(lines: list[str], wheres: list[str], skeleton: Skeleton, is_chosen: bool) -> dict[int, int]:
    """Returns `_dims_of_lengths` of a skeleton, after a look at whether lines may be of other keypoints.

    Raises:
        UserError: Nobody has said what the keypoints are, and they may be fewer with a flag or a confidence each.
    """
    known = _dims_of_lengths(len(skeleton))
    odd = [
        (line.split(), where) for line, where in zip(lines, wheres, strict=True) if known.get(len(line.split())) == 2
    ]
    counts = [count for count in range(5, len(skeleton)) if odd and all(_has_flags(words, count) for words, _ in odd)]
    if counts and not is_chosen:
        (words, where), others = odd[0], " or ".join(map(str, counts))
        found = f"{len(words)} numbers may be {others} keypoints of 3 numbers instead of {len(skeleton)} of 2"
        raise UserError(f"{where}: {found}; set skeleton=[NAME,NAME,...], or skeleton=coco17")
    return known


def _has_flags(words: list[str], count: int) -> bool:
    """Returns whether a line may have that many keypoints of three numbers: a flag or a confidence after x and y."""
    rest = words[_BOX_END + 3 * count :]
    flags = words[_BOX_END + 2 : _BOX_END + 3 * count : 3]
    is_two = len(words) - _BOX_END - 2 * len(COCO17) < 2 or re.fullmatch(r"-?\d+", words[-1]) is not None
    values = [float(word) for word in flags if _NUMBER.fullmatch(word)]
    are_flags = len(values) == count and set(values) <= {0, 1, 2} and any(values)
    return len(words) >= _BOX_END + 3 * count and len(rest) <= 2 and (are_flags or not is_two)


def _parse_line(line: str, where: str, lengths: dict[int, int]) -> tuple[FloatArray, int, FloatArray, list[str]]:
    """Returns a box (4,), centre and size, the numbers of a keypoint, those of all, and the words after them."""
    words = line.split()
    dims = lengths.get(len(words))
    count = (min(lengths) - _BOX_END) // 2
    if dims is None:
        expected = f"expected class, box and {count} keypoints of 2 or 3 numbers, then at most a confidence and an id"
        advice = f"{' or '.join(map(str, sorted(lengths)))} numbers; found {len(words)}"
        raise UserError(f"{where}: {expected}: {advice}; if they are others, set skeleton")

    values = []
    for word in words:
        try:
            values.append(float(word))
        except ValueError:
            raise UserError(f"{where}: expected numbers, found {fields.summary(word)}") from None
    end = _BOX_END + dims * count
    return np.array(values[1:_BOX_END]), dims, np.array(values[_BOX_END:end]), words[end:]


def _poses(triples: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns keypoints, scores and flags as in `Frame` of x, y and visibility (P, K, 3): a flag, or a confidence."""
    coordinates, visibility = triples[..., :2], triples[..., 2]
    is_absent, is_missing = np.isnan(visibility), fields.is_zero(coordinates)
    if not (np.isin(visibility, (0, 1, 2)) | is_absent).all():
        return fields.keypoints_of(coordinates, is_missing), visibility, (~is_missing).astype(np.float64)

    is_missing &= is_absent | (visibility == 0)
    flags = np.where(is_absent, ~is_missing, visibility)
    return fields.keypoints_of(coordinates, is_missing), np.full(visibility.shape, np.nan), flags


def _confidences_and_ids(ends: list[list[str]], wheres: list[str]) -> tuple[FloatArray, list[TrackId]]:
    """Returns the people's confidences (P,) and track ids, NaN and None where there are none.

    A single number at the end of a line is a track id if all such numbers of the source are written as whole ones, and
    a confidence otherwise.
    """
    are_ids = all(re.fullmatch(r"-?\d+", end[0]) for end in ends if len(end) == 1)
    confidences: FloatArray = np.full(len(ends), np.nan)
    track_ids: list[TrackId] = []
    for row, (end, where) in enumerate(zip(ends, wheres, strict=True)):
        has_id = len(end) == 2 or (len(end) == 1 and are_ids)
        if len(end) > has_id:
            confidences[row] = float(end[0])
        if has_id and not re.fullmatch(r"-?\d{1,18}", end[-1]):
            raise UserError(f"{where}: expected a whole number as track id at its end, found {fields.summary(end[-1])}")
        track_ids.append(int(end[-1]) if has_id else None)
    return confidences, track_ids


def _line(start: list[str], pose: FloatArray, end: list[str]) -> str:
    """Returns a line, with a pose (K, 2 or 3) between the words at its start and end."""
    return " ".join([*start, *map(_word, pose.reshape(-1).tolist()), *end]) + "\n"


def _word(value: float) -> str:
    """Returns a number as text; a billionth of an image is less than any network knows of a keypoint."""
    return f"{value:.9g}"


def _label_pose(people: Frame, person: int) -> FloatArray:
    """Returns x, y and visibility of a person's keypoints, (K, 3): scores, or flags where there are no scores."""
    keypoints, scores, is_there = written_pose(people, person)
    has_scores = not np.isnan(people.scores[person]).all()
    visibility = scores if has_scores else np.where(is_there, people.flags[person], 0.0)
    return np.column_stack([keypoints, visibility])
