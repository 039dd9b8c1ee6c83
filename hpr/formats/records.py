"""The round trip that formats with a record for each person share.

Reading keeps the document and everyone who was read from it. Writing carries the document over: a person who is
unchanged keeps the record, a changed one gets a new pose in it, new people get new records. A format says how it parses
a document, what a record looks like, and where a new record goes.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.files import paused_collector, read_json, write_json
from hpr.formats import fields
from hpr.formats.base import Format
from hpr.formats.conversion import without_original
from hpr.poses import NO_RECORD, BoolArray, FloatArray, Frame, IntArray, PoseSequence
from hpr.skeleton import Skeleton

_PEOPLE_ARRAYS = (
    *("keypoints", "scores", "flags", "boxes", "head_boxes"),
    *("posed", "records", "confidences", "person_scores"),
)
"""Arrays of `Frame` over people."""

_DIGITS = 12
_FRAME_NAME = re.compile(r"(?P<video>(?:.*[^0-9])?)(?P<number>[0-9]{1,12})(\.\w+)?", re.DOTALL)

Record = Any
"""What a file has for a person: an object of its JSON, or a line."""


class ImageEntry(NamedTuple):
    """What a file says of an image, beside the people in it; see `Frame` for the fields."""

    name: str
    size: tuple[int, int] | None = None
    number: int | None = None
    ignore_regions: tuple[FloatArray, ...] = ()


class Original(NamedTuple):
    """A source as it was read.

    Attributes:
        images: Its images, one for each frame.
        image_indices: (P,) index of the image that each of the people is in.
        records: All records of the document, in its order.
        people: The P people who are in frames, as if in one image. Their `records` are indices into `records` in
            ascending order; the other records are carried over.
        details: What else the format has to know to write the document again.
        document: The content of the source, as the format has parsed it.
        format_name: The format that read it.
        upright: See `Frame`.
        is_counted: Whether the skeleton was taken by the number of keypoints.
        warnings: See `PoseSequence`.
    """

    images: list[ImageEntry]
    image_indices: IntArray
    records: list[Record]
    people: Frame
    details: Any = None
    document: Any = None
    format_name: str = ""
    upright: bool = False
    is_counted: bool = False
    warnings: tuple[str, ...] = ()

    def sequence(self, name: str, folder: str = "") -> PoseSequence:
        """Returns the sequence of the source, whose frames have views of arrays over everyone.

        Args:
            name: Its name.
            folder: See `Frame`; by default the name.
        """
        grouped = self.people.select(np.argsort(self.image_indices, kind="stable"))
        arrays = {name: getattr(grouped, name) for name in (*_PEOPLE_ARRAYS, "track_ids")}
        stops = np.cumsum(np.bincount(self.image_indices, minlength=len(self.images))).tolist()

        numbers = [image.number for image in self.images]
        if set(numbers) == {None}:
            numbers = frame_numbers([image.name for image in self.images])
        known = {"folder": folder or name, "upright": self.upright}

        frames = []
        for image, start, stop, number in zip(self.images, [0, *stops], stops, numbers, strict=False):
            own: dict[str, Any] = {name: array[start:stop] for name, array in arrays.items()}
            image_name, size, _, regions = image
            own |= {"size": size, "number": number, "ignore_regions": regions, **known}
            frames.append(Frame(image_name, grouped.skeleton, **own))
        return PoseSequence(name, frames, self, self.warnings)


class RecordFormat(Format):
    """A format with a record for each person, in one JSON file.

    Attributes:
        compared: Fields of `Frame` that make a record be written anew if they have changed.
        score_key: Field of a record with the person's own score; None if records have none.
        track_key: Field of a record with the track id; None if records have none.
        indent: Indentation of what is written onto an original.
    """

    compared: ClassVar[tuple[str, ...]] = ("keypoints", "scores", "flags")
    score_key: ClassVar[str | None] = None
    track_key: ClassVar[str | None] = None
    indent: ClassVar[int | None] = None

    def read(self, path: Path) -> list[PoseSequence]:
        with paused_collector():
            return [self._sequence(read_json(path), path)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. Known people keep the order of the file; new ones come last."""
        (sequence,) = sequences
        with paused_collector():
            document = self._updated_document(*self._with_original(sequence))
            write_json(path, document, indent=self.indent if self._has_read(sequence) else None)

    # What a format says

    @abstractmethod
    def _parse(self, document: Any, path: Path) -> Original:
        """Parses a document, or raises a UserError where it is broken or of another format."""

    @abstractmethod
    def _updated_record(self, record: Record, people: Any, person: int, original: Original) -> Record:
        """Returns the file's record of a changed person with the new pose.

        Args:
            record: The record in the file.
            people: What `_in_file_units` returns.
            person: Index of the person in `people`.
            original: What was read.
        """

    @abstractmethod
    def _new_record(self, people: Any, person: int, original: Original) -> Record:
        """Returns the record of a person (of what `_in_file_units` returns) whom the file does not have."""

    def _new_heads(self, frames: Sequence[Frame], indices: list[int], original: Original) -> list[Record]:
        """Returns the first fields of new records: they name each record's image, given the index of its frame."""
        del frames, original
        return [{} for _ in indices]

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        """Returns the document with other records, given all of them and those of the people in each frame."""
        del by_frame, original
        return records

    def _new_document(self, sequence: PoseSequence) -> Any:
        """Returns a new document with the images of a sequence, and nobody in them."""
        del sequence
        return []

    def _in_file_units(self, people: Frame, indices: IntArray, original: Original) -> Any:
        """Returns people with coordinates and flags as the file has them, given the index of everyone's frame.

        People are in the order of the file, new ones last, as `_updated_record` and `_new_record` get them.
        """
        del indices, original
        return people

    # The round trip

    def _people(
        self, own: Sequence[Record], wheres: Sequence[str], skeleton: Skeleton, keypoints: FloatArray, **arrays: Any
    ) -> Frame:
        """Returns the people of P records as if in one image, with keypoints (P, K, 2), scores and track ids."""
        if (key := self.score_key) is not None and "person_scores" not in arrays:
            arrays["person_scores"] = fields.optional_numbers(own, wheres, key)
        if (key := self.track_key) is not None:
            pairs = zip(own, wheres, strict=True)
            arrays["track_ids"] = tuple(fields.track_id(record.get(key), f"{where}.{key}") for record, where in pairs)
        return Frame("", skeleton, keypoints, **{"records": np.arange(len(own)), **arrays})

    def _sequence(self, document: Any, path: Path) -> PoseSequence:
        """Returns the sequence of a document."""
        parsed = self._parse(document, path)
        is_upright = self.upright or parsed.upright
        return parsed._replace(document=document, format_name=self.name, upright=is_upright).sequence(path.stem)

    def _has_read(self, sequence: PoseSequence) -> bool:
        """Returns whether this format has read a sequence."""
        return isinstance(sequence.original, Original) and sequence.original.format_name == self.name

    def _with_original(self, sequence: PoseSequence) -> tuple[list[Frame], Original]:
        """Returns the frames of a sequence and its original: a new document, if this format has not read it."""
        if self._has_read(sequence):
            return sequence.frames, sequence.original
        (new,) = without_original([sequence])
        original: Original = self._sequence(self._new_document(sequence), Path(sequence.name)).original
        return new.frames, original

    def _updated_document(self, frames: Sequence[Frame], original: Original) -> Any:
        """Returns the document with the people of frames: known ones in its order, then new ones in the frames'."""
        records: list[Record] = []
        by_frame: list[list[Record]] = [[] for _ in frames]
        for record, index in self._records(frames, original):
            records.append(record)
            if index is not None:
                by_frame[index].append(record)
        return self._document(records, by_frame, original)

    def _records(self, frames: Sequence[Frame], original: Original) -> Iterator[tuple[Record, int | None]]:
        """Yields the records of `_updated_document`, each with the index of its frame; None for who is in no frame."""
        people, indices = gather_people(frames, original.people.skeleton)
        is_new = people.records == NO_RECORD
        order = np.argsort(np.where(is_new, len(original.records), people.records), kind="stable")
        if (np.diff(order) < 0).any():
            people, indices, is_new = people.select(order), indices[order], is_new[order]

        former = np.searchsorted(original.people.records, people.records)  # (N,) indices in original.people
        is_changed, is_rescored = self._changes(people, former, original.people, ~is_new)
        written = self._in_file_units(people, indices, original)
        persons = {row: person for person, row in enumerate(people.records.tolist())}
        gone = set(original.people.records.tolist()) - persons.keys()
        frame_indices: list[int] = indices.tolist()
        for row, record in enumerate(original.records):
            person = persons.get(row)
            if person is None:
                if row not in gone:
                    yield record, None
                continue
            if is_changed[person]:
                new = self._updated_record(record, written, person, original)
                if self.score_key and is_rescored[person]:
                    new = {**new, self.score_key: float(people.person_scores[person])}
                yield new, frame_indices[person]
            else:
                yield record, frame_indices[person]

        new_indices = indices[is_new].tolist()
        heads = self._new_heads(frames, new_indices, original)
        for person, index, head in zip(np.flatnonzero(is_new).tolist(), new_indices, heads, strict=True):
            body = self._new_record(written, person, original)
            yield {**head, **body} if head else body, index

    def _changes(
        self, people: Frame, former: IntArray, before: Frame, is_known: BoolArray
    ) -> tuple[BoolArray, BoolArray]:
        """Returns (N,) whose poses have changed and who has another score, given everyone's index in `before`."""
        known, own = np.flatnonzero(is_known), former[is_known]
        is_changed, is_rescored = np.zeros(len(people), bool), np.zeros(len(people), bool)
        for name in self.compared:
            old, new = getattr(before, name)[own], getattr(people, name)[known]
            differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
            is_changed[known] |= differs.any(axis=tuple(range(1, differs.ndim)))
        scores = people.person_scores[known]
        is_rescored[known] = np.isfinite(scores) & (scores != before.person_scores[own])
        return is_changed, is_rescored


def frame_numbers(names: Sequence[str]) -> list[int | None]:
    """Returns the places in a video that names of images say, such as clip_000000000012; None if not all say one.

    They do if all are numbers after the same word, either of twelve digits, as OpenPose, MMPose and COCO name them, or
    with a 0 among them: pictures that programs extract from videos often count from 1.
    """
    matches = [_FRAME_NAME.fullmatch(name) for name in names]
    found = [(match["video"], match["number"]) for match in matches if match]
    texts = {text for _, text in found}
    is_video = len(texts) == len(names) and len({video for video, _ in found}) == 1
    is_counted = any(int(text) == 0 for text in texts) or all(len(text) == _DIGITS for text in texts)
    return [int(text) for _, text in found] if is_video and is_counted else [None] * len(names)


def gather_people(frames: Sequence[Frame], skeleton: Skeleton) -> tuple[Frame, IntArray]:
    """Returns all N people of some frames as if in one image, in a skeleton, and the index (N,) of everyone's frame."""
    parts = [Frame.empty("", skeleton), *(frame.in_skeleton(skeleton) for frame in frames)]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PEOPLE_ARRAYS}
    track_ids = tuple(track_id for part in parts for track_id in part.track_ids)

    counts = np.array([len(frame) for frame in frames], np.int64)
    return Frame("", skeleton, track_ids=track_ids, **arrays), np.repeat(np.arange(len(frames)), counts)


def gather_records(lists: list[list[Record]], wheres: Sequence[str]) -> tuple[list[Record], list[str], IntArray]:
    """Returns the P records (objects) of several images, where each is, and the index (P,) of each one's image."""
    records = [record for own in lists for record in own]
    places = [f"{where}[{i}]" for own, where in zip(lists, wheres, strict=True) for i in range(len(own))]
    for record, place in zip(records, places, strict=True):
        fields.expect(record, dict, place)
    return records, places, np.repeat(np.arange(len(lists)), np.array([len(own) for own in lists], np.int64))


def group_by_name(names: Sequence[str]) -> tuple[list[str], IntArray]:
    """Returns different names in the order in which they appear, and the index (P,) of each of P names among these."""
    indices = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return list(indices), np.array([indices[name] for name in names], np.int64)


def numbered_heads(original: Original, ids: Sequence[Any], indices: list[int], default: int) -> list[Record]:
    """Returns the first fields of new records in files of COCO's form: an id above all others, and the image's id."""
    known = [record.get("id") for record in original.records if isinstance(record, dict)]
    first = max((number for number in known if isinstance(number, int)), default=default - 1) + 1
    return [{"id": number, "image_id": ids[index]} for number, index in enumerate(indices, first)]
