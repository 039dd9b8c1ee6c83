"""The round trip that formats with a record for each person share.

Reading keeps the document and everyone who was read from it. Writing carries the document over: a person who is
unchanged keeps the record, a changed one gets a new pose in it, new people get new records. A format says how it parses
a document, what a record looks like, and where records go.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.base import Format
from hpr.formats.fields import field, id_number, summary
from hpr.poses import NO_RECORD, BoolArray, FloatArray, Frame, IntArray, PoseSequence
from hpr.skeleton import Skeleton

Record = Any
"""What a file has for a person: an object of its JSON, or a line."""


class ImageEntry(NamedTuple):
    """What a file says of an image, beside the people in it; see `Frame` for the fields."""

    name: str
    size: tuple[int, int] | None = None
    number: int | None = None
    ignore_regions: tuple[FloatArray, ...] = ()


@dataclass(frozen=True)
class Original:
    """A source as it was read.

    Attributes:
        format_name: The format that read it.
        document: Its content, as the format has parsed it.
        records: All R records of the document, in its order.
        people: The P people who are in frames, as if in one image. Their `records` are indices into `records` in
            ascending order; the other records are carried over.
        details: What else the format has to know to write the document again.
    """

    format_name: str
    document: Any
    records: list[Record]
    people: Frame
    details: Any = None


class Parsed(NamedTuple):
    """A parsed source: its images, the index of the image (P,) that each of the people is in, and what is kept."""

    images: list[ImageEntry]
    image_indices: IntArray
    original: Original


class PlacedRecord(NamedTuple):
    """A record to be written: the index of the frame that it belongs to (None for nobody's) and whether it is new."""

    record: Record
    frame: int | None
    is_new: bool


class RecordFormat(Format):
    """A format with a record for each person, in one JSON file.

    Attributes:
        compared: Fields of `Frame` that make a record be written anew if they have changed.
        score_key: Field of a record with the person's own score; None if records have none.
        indent: Indentation of what is written onto an original.
    """

    compared: ClassVar[tuple[str, ...]] = ("keypoints", "scores", "flags")
    score_key: ClassVar[str | None] = None
    indent: ClassVar[int | None] = None

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`."""
        return [self._sequence(read_json(path), path)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. Known people keep the order of the file; new ones come last."""
        (sequence,) = sequences
        original = self._original_of(sequence)
        document = self._document(sequence, self._placed_records(sequence.frames, original), original)
        write_json(path, document, indent=None if original is None else self.indent)

    @abstractmethod
    def _parse(self, document: Any, path: Path) -> Parsed:
        """Parses a document.

        Raises:
            UserError: It is broken or of another format.
        """

    @abstractmethod
    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        """Returns the record of a changed person with the new pose.

        Args:
            record: As the file has it.
            people: Everyone as they are now.
            person: Index of the person among these.
            original: The source.
            index: Index of the person among the original's people.
        """

    @abstractmethod
    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        """Returns the record of a person whom the file does not have; without an original, for a new file."""

    @abstractmethod
    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        """Returns the document of some records: the original with these, or a new one."""

    def _in_file_units(
        self, people: Frame, frame_indices: IntArray, frames: Sequence[Frame], original: Original | None
    ) -> Frame:
        """Returns people with the coordinates that the file has: pixels, unless a format says otherwise."""
        del frame_indices, frames, original
        return people

    def _sequence(self, document: Any, path: Path) -> PoseSequence:
        """Returns the sequence of a document."""
        parsed = self._parse(document, path)
        frames = split_people(parsed.original.people, parsed.images, parsed.image_indices)
        return PoseSequence(path.stem, frames, parsed.original)

    def _original_of(self, sequence: PoseSequence) -> Original | None:
        """Returns what a sequence was read from, if this format has read it."""
        original = sequence.original
        return original if isinstance(original, Original) and original.format_name == self.name else None

    def _placed_records(self, frames: Sequence[Frame], original: Original | None) -> list[PlacedRecord]:
        """Returns the records of everyone: those of the original in its order, then new ones in the frames' order."""
        skeleton = self.skeletons[0] if original is None else original.people.skeleton
        people, frame_indices = gather_people(frames, skeleton)
        in_units = self._in_file_units(people, frame_indices, frames, original)
        if original is None:
            new = (self._new_record(in_units, person, None) for person in range(len(people)))
            return [
                PlacedRecord(record, frame, True) for record, frame in zip(new, frame_indices.tolist(), strict=True)
            ]

        in_frames = set(original.people.records.tolist())
        rows = range(len(original.records))
        known = {row: PlacedRecord(original.records[row], None, False) for row in rows if row not in in_frames}
        added = []
        former = former_indices(original.people, people)
        is_changed = changed_people(original.people, people, former, self.compared)

        columns = zip(people.records.tolist(), frame_indices.tolist(), former.tolist(), is_changed, strict=True)
        for person, (row, frame, index, changed) in enumerate(columns):
            if row == NO_RECORD:
                added.append(PlacedRecord(self._new_record(in_units, person, original), frame, True))
                continue
            record = original.records[row]
            if changed:
                record = self._updated_record(record, in_units, person, original, index)
                record = self._rescored(record, people.person_scores[person], original.people.person_scores[index])
            known[row] = PlacedRecord(record, frame, False)
        return [known[row] for row in sorted(known)] + added

    def _rescored(self, record: Record, score: float, former: float) -> Record:
        """Returns a record with the person's own score if there is a new one; else it stays as the file has it."""
        if self.score_key is None or not np.isfinite(score) or score == former:
            return record
        return {**record, self.score_key: float(score)}


# Frames and everyone in them

_PEOPLE_ARRAYS = (
    *("keypoints", "scores", "flags", "boxes", "head_boxes"),
    *("posed", "records", "confidences", "person_scores"),
)


def split_people(people: Frame, images: Iterable[ImageEntry], image_indices: IntArray) -> list[Frame]:
    """Returns a frame for each image, with views of arrays over everyone.

    Args:
        people: All P people of a source, as if in one image.
        images: In the order of the frames.
        image_indices: (P,) which image each of the people is in.
    """
    entries = list(images)
    grouped = people.select(np.argsort(image_indices, kind="stable"))
    stops = np.cumsum(np.bincount(image_indices, minlength=len(entries)))
    arrays = {name: getattr(grouped, name) for name in _PEOPLE_ARRAYS}

    frames, start = [], 0
    for image, stop in zip(entries, stops.tolist(), strict=True):
        own = {name: array[start:stop] for name, array in arrays.items()}
        frame = Frame(
            image.name,
            people.skeleton,
            track_ids=grouped.track_ids[start:stop],
            ignore_regions=image.ignore_regions,
            size=image.size,
            number=image.number,
            **own,
        )
        frames.append(frame)
        start = stop
    return frames


def gather_people(frames: Sequence[Frame], skeleton: Skeleton) -> tuple[Frame, IntArray]:
    """Returns all N people of some frames as if in one image, in a skeleton, and the index (N,) of everyone's frame."""
    parts = [Frame.empty("", skeleton), *(frame.in_skeleton(skeleton) for frame in frames)]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PEOPLE_ARRAYS}
    track_ids = tuple(track_id for part in parts for track_id in part.track_ids)

    counts = np.array([len(frame) for frame in frames], np.int64)
    return Frame("", skeleton, track_ids=track_ids, **arrays), np.repeat(np.arange(len(frames)), counts)


def former_indices(before: Frame, after: Frame) -> IntArray:
    """Returns (N,) the index of everyone among the people who were read; -1 for new people."""
    indices = np.searchsorted(before.records, after.records)
    return np.where(after.records == NO_RECORD, -1, indices)


def changed_people(before: Frame, after: Frame, former: IntArray, fields: Iterable[str]) -> BoolArray:
    """Returns (N,) who is not as in the file in some of the fields; new people are.

    Args:
        before: The people who were read.
        after: Everyone as they are now, in the same skeleton.
        former: (N,) see `former_indices`.
        fields: Fields of `Frame` to look at.
    """
    is_changed = former < 0
    known = np.flatnonzero(~is_changed)
    for field_name in fields:
        old, new = getattr(before, field_name)[former[known]], getattr(after, field_name)[known]
        differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
        is_changed[known] |= differs.any(axis=tuple(range(1, differs.ndim)))
    return is_changed


# Records of several images


def gather_records(lists: list[list[Record]], wheres: Iterable[str]) -> tuple[list[Record], list[str], IntArray]:
    """Returns the P records of several lists, where each of them is, and the index (P,) of each one's list.

    Args:
        lists: The records of each image.
        wheres: Where each list is, for errors.
    """
    records = [record for own in lists for record in own]
    places = [f"{where}[{i}]" for own, where in zip(lists, wheres, strict=True) for i in range(len(own))]
    counts = np.array([len(own) for own in lists], np.int64)
    return records, places, np.repeat(np.arange(len(lists)), counts)


def records_by_frame(records: Iterable[PlacedRecord], count: int) -> list[list[Record]]:
    """Returns the records of each of `count` frames."""
    lists: list[list[Record]] = [[] for _ in range(count)]
    for placed in records:
        assert placed.frame is not None
        lists[placed.frame].append(placed.record)
    return lists


def group_by_name(names: Sequence[str]) -> tuple[list[str], IntArray]:
    """Returns different names in the order in which they appear, and the index (P,) of each of P names among these."""
    indices = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return list(indices), np.array([indices[name] for name in names], np.int64)


def match_image_ids(
    records: Sequence[Record], wheres: Sequence[str], ids: Sequence[int | str], expected: str
) -> IntArray:
    """Returns (P,) the index of the image that each record's `image_id` means.

    An id means the image with the same id, else that with the same number: "7", 7 and 7.0 are one.

    Args:
        records: P records.
        wheres: Where each of them is.
        ids: Of the images.
        expected: What messages call these images.

    Raises:
        UserError: A record has no `image_id`, or one that no image has.
    """
    by_id: dict[Any, int] = {}
    by_number: dict[int, int] = {}
    for index, image_id in enumerate(ids):
        by_id.setdefault(image_id, index)
        if (number := id_number(image_id)) is not None:
            by_number.setdefault(number, index)

    indices = []
    for record, where in zip(records, wheres, strict=True):
        image_id = field(record, "image_id", (int, str, float), where)
        number = id_number(image_id)
        index = by_id.get(image_id, None if number is None else by_number.get(number))
        if index is None:
            raise UserError(f"{where}: image_id {summary(image_id)} is not among {expected}")
        indices.append(index)
    return np.array(indices, np.int64)
