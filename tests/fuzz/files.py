"""Wild pose files: what a format writes, mutated, is read whole or refused in one line."""

import copy
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats import FORMATS, Format, recognise
from fuzz.trials import Outcome, Result, put_something_else, refused
from hpr.poses import NO_RECORD, BoolArray, FloatArray, Frame, PoseSequence
from hpr.skeleton import SKELETONS, Skeleton

_SEED_DOCUMENTS = 48
"""Of each format; every try mutates one of them."""

_SHIFT = 0.37
"""Pixels that poses are moved by, so that they have to be written anew."""

_TOLERANCE = 0.01
"""Pixels; formats with normalised coordinates round them."""

_RAW = {
    "@digits@": "9" * 5000,
    "@digits4000@": "9" * 4000,
    "@overflow@": "1e400",
    "@negative@": "-1e400",
    "@deep@": "[" * 100_000 + "]" * 100_000,
    "@objects@": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@nested@": "[" * 500 + "]" * 500,
    "@nested900@": "[" * 900 + "]" * 900,
}
"""What json.dumps cannot write, by what stands for it."""

_ODD_NUMBERS = (0, -1, 1, 7, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, 1e9)
_ODD: tuple[Any, ...] = (
    *(None, True, False, "", "text", "1", "\0", "\ud800", "a\nb", "é" * 300, "x" * 100_000),
    *([], {}, [[]], [{}], {"": []}),
    *([None] * 51, [0] * 51, [1.5] * 51, ["1"] * 51, [True] * 51, [1e308] * 51, [[1]] * 51, [1, [2]]),
    *(float("nan"), float("inf"), -float("inf"), *_ODD_NUMBERS, *_RAW),
)


@dataclass(frozen=True)
class _Source:
    """A source in memory.

    Attributes:
        name: Of its file or folder.
        contents: Of each file by its path from there; of a file, by "".
        beside: Of the files that the format's constructor takes, by their paths.
        arguments: For the constructor, paths from the same folder.
    """

    name: str
    contents: dict[str, bytes]
    beside: dict[str, bytes]
    arguments: dict[str, str]


class FileTrials:
    """Mutated sources of every format."""

    per_child = 2000

    def __init__(self, seed: int, formats: dict[str, type[Format]] | None = None) -> None:
        """Prepares tries.

        Args:
            seed: Of all draws.
            formats: By default all.
        """
        self._seed = seed
        self._formats = dict(FORMATS if formats is None else formats)
        self._names = sorted(self._formats)
        self._sources: dict[tuple[str, int], _Source] = {}
        self._kept: dict[tuple[str, Skeleton], BoolArray] = {}

    def subject(self, number: int) -> str:
        """See `Trials`."""
        return self._names[number % len(self._names)]

    def seconds(self, number: int) -> float:
        """See `Trials`."""
        return 5

    def late(self, number: int) -> Result:
        """See `Trials`."""
        return Result(self.subject(number), Outcome.DEFECT, "it hangs")

    def make(self, number: int, folder: Path) -> tuple[Path, Format]:
        """See `Trials`; returns the source and its format."""
        draw = random.Random(f"{self._seed} file {number}")
        name = self.subject(number)
        source = self._source(name, draw.randrange(_SEED_DOCUMENTS), folder)
        for path, content in source.beside.items():
            _put(folder / path, content)
        file_format = _constructed(self._formats[name], {key: str(folder / p) for key, p in source.arguments.items()})

        location = folder / source.name
        if not source.contents:
            location.mkdir()
            return location, file_format
        chosen = draw.choice(sorted(source.contents))
        for path, content in source.contents.items():
            if path == chosen:
                _put_mutated(location / path if path else location, content, draw)
            else:
                _put(location / path, content)
        return location, file_format

    def attempt(self, number: int, folder: Path) -> Result:
        """See `Trials`."""
        name = self.subject(number)
        source, file_format = self.make(number, folder)
        try:
            recognise(source)
        except UserError as error:
            result = refused(name, error)
            if result.outcome is Outcome.DEFECT:
                return result
        try:
            sequences = file_format.read(source)
        except UserError as error:
            return refused(name, error)
        problem = self._lost(name, file_format, sequences, source, folder)
        return Result(name, Outcome.ACCEPTED) if problem is None else Result(name, Outcome.DEFECT, problem)

    def _lost(
        self, name: str, file_format: Format, sequences: list[PoseSequence], source: Path, folder: Path
    ) -> str | None:
        """Returns what is lost by writing what has been read."""
        found, target = _through(file_format, sequences, folder / "same" / source.name)
        if (problem := _difference(sequences, found)) is not None:
            return f"lost pose: read, written and read again: {problem}"
        if (problem := _document_difference(source, target)) is not None:
            return f"lost field: read and written: {problem}"

        moved = [_changed(sequence, _moved) for sequence in sequences]
        found, _ = _through(file_format, moved, folder / "moved" / source.name)
        if (problem := self._missing(name, file_format, moved, found, folder)) is not None:
            return f"lost pose: moved, written and read again: {problem}"

        regrouped = [_changed(sequence, _with_new_person) for sequence in sequences]
        found, _ = _through(file_format, regrouped, folder / "new" / source.name)
        # Formats without a list of images have these in the order of their people.
        before, after = (sorted((f.image, len(f)) for f in _frames(own)) for own in (regrouped, found))
        return None if before == after else f"lost person: one left out and one new: {before} became {after}"

    def _missing(
        self, name: str, file_format: Format, expected: list[PoseSequence], found: list[PoseSequence], folder: Path
    ) -> str | None:
        """Returns which present keypoint of moved poses is not where it was moved to."""
        if _counts(expected) != _counts(found):
            return f"people: {_counts(expected)} became {_counts(found)}"
        for one, other in zip(_frames(expected), _frames(found), strict=True):
            if len(one) == 0:
                continue
            own = other.in_skeleton(one.skeleton)
            present = one.present & self._holds(name, file_format, one.skeleton, folder)
            with np.errstate(invalid="ignore"):
                close = np.asarray(np.isclose(own.keypoints, one.keypoints, rtol=1e-6, atol=_TOLERANCE))
            near = close.all(axis=-1)
            if (present & ~near).any():
                person, keypoint = np.argwhere(present & ~near)[0].tolist()
                places = f"{one.keypoints[person, keypoint]} became {own.keypoints[person, keypoint]}"
                return f"{one.image!r:.40}: person {person}: {one.skeleton.names[keypoint]}: {places}"
        return None

    def _holds(self, name: str, file_format: Format, skeleton: Skeleton, folder: Path) -> BoolArray:
        """Returns which keypoints (K,) the format has a place for, found by writing them."""
        if (name, skeleton) not in self._kept:
            keypoints = np.random.default_rng(0).uniform(10, 20, (1, len(skeleton), 2))
            frame = Frame("a.jpg", skeleton, keypoints, np.full((1, len(skeleton)), 0.5), track_ids=(1,), size=(64, 48))
            location = folder / "probe" / f"source{_ending(file_format, folder)}"
            plain = [replace(frame, image=image) for image in _images_beside(file_format) or ["a.jpg"]]
            try:
                found, _ = _through(file_format, [PoseSequence("source", plain[:1])], location)
                back = _frames(found)[0].in_skeleton(skeleton)
                self._kept[name, skeleton] = np.isfinite(back.keypoints[0]).all(axis=-1)
            except (UserError, IndexError):
                self._kept[name, skeleton] = np.ones(len(skeleton), bool)
        return self._kept[name, skeleton]

    def _source(self, name: str, place: int, folder: Path) -> _Source:
        """Returns one of the seed documents of a format."""
        if (name, place) not in self._sources:
            self._sources[name, place] = self._made(name, place, folder / "seed")
        return self._sources[name, place]

    def _made(self, name: str, place: int, folder: Path) -> _Source:
        """Writes a seed document and takes it into memory."""
        draw = np.random.default_rng((self._seed, place, zlib.crc32(name.encode())))
        kind = self._formats[name]
        wild = place % 2 == 1 and not kind.reads_beside  # what lies beside has to be right
        sequence = PoseSequence("source", _drawn_frames(draw, kind.skeletons, wild))
        beside, arguments = folder / "beside", {}
        if "images" in kind.reads_beside:
            arguments["images"] = "beside/images"
            for frame in sequence.frames:
                _put(beside / "images" / frame.image, _png(*(frame.size or (64, 48))))
        if "annotations" in kind.reads_beside and place % 4:
            arguments["annotations"] = "beside/annotations.json"
            _constructed(kind, {}).write([sequence], beside / "annotations.json")
        beside.mkdir(parents=True, exist_ok=True)
        file_format = _constructed(kind, {key: str(folder / path) for key, path in arguments.items()})

        location = folder / f"source{_ending(file_format, folder)}"
        file_format.write([sequence], location)
        contents = {"": location.read_bytes()} if location.is_file() else _contents(location)
        return _Source(location.name, contents, {f"beside/{p}": c for p, c in _contents(beside).items()}, arguments)


def _constructed(kind: type[Format], arguments: dict[str, str]) -> Format:
    constructor: Callable[..., Format] = kind
    return constructor(**{name: arguments.get(name) for name in kind.reads_beside})


def _ending(file_format: Format, folder: Path) -> str:
    """Returns the ending of a format's files; "" where a folder of them is one source."""
    location = folder / "shape"
    _put(location / f"a{file_format.ending}", b"")
    try:
        (source,) = file_format.sources(location)
    except UserError:  # it has looked into the file
        return file_format.ending
    return file_format.ending if source.is_file() else ""


def _images_beside(file_format: Format) -> list[str]:
    """Returns the images that seed documents of formats with files beside them name."""
    return [f"{number:06d}.jpg" for number in range(4)] if file_format.reads_beside else []


def _contents(folder: Path) -> dict[str, bytes]:
    """Returns the files of a folder and of those in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _png(width: int, height: int) -> bytes:
    """Returns a black picture."""
    rows = zlib.compress(bytes(height * (width + 1)))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# Seed documents.

_NAMES = ("a.jpg", "", "a b/ä.png", "../../x.jpg", "/abs/olute.jpg", "new\nline.jpg", "x" * 300, "…/0.jpg", "a/b/c/d/e")
_TRACKS = (None, 0, 1, 2, -1, 10**12, "seven", "")
_FLAGS = (0.0, 0.3, 1.0, 2.0)


def _drawn_frames(draw: np.random.Generator, skeletons: tuple[Skeleton, ...], wild: bool) -> list[Frame]:
    """Returns up to four frames of one skeleton, plain ones or wild ones."""
    known = [*skeletons, *SKELETONS.values()] if wild else [*skeletons]
    skeleton = known[draw.integers(len(known))]
    frames = []
    for number in range(int(draw.integers(0 if wild else 1, 5))):
        image = str(draw.choice(_NAMES)) if wild and draw.random() < 0.5 else f"{number:06d}.jpg"
        frames.append(_drawn_frame(draw, image, number, skeleton, wild))
    return frames


def _drawn_frame(draw: np.random.Generator, image: str, number: int, skeleton: Skeleton, wild: bool) -> Frame:
    """Returns a frame of a few people; now and then of none, or of many."""
    people, count = int(draw.choice([0, 1, 1, 2, 3, 20] if wild else [0, 1, 2, 3])), len(skeleton)
    keypoints = draw.uniform(-50 if wild else 5, 500, (people, count, 2)).round(3)
    keypoints[draw.random((people, count)) < 0.2] = np.nan
    scores, person_scores = draw.random((people, count)).round(3), draw.random(people).round(3)
    boxes, heads = _boxes(draw, people), _boxes(draw, people)
    if wild:
        for array in (keypoints, scores, boxes, heads, person_scores):
            _spoil(array, draw)
    absent = np.isnan(keypoints).any(axis=-1)
    keypoints[absent] = np.nan
    flags = np.where(absent, 0.0, draw.choice(_FLAGS if wild else (1.0, 2.0), (people, count)))
    tracks = [_TRACKS[draw.integers(len(_TRACKS))] if wild else person for person in range(people)]
    regions = tuple(draw.uniform(0, 500, (int(draw.integers(0, 5)), 2)) for _ in range(int(draw.integers(0, 3))))
    size = None if wild and draw.random() < 0.3 else (640, 480)
    return Frame(
        image, skeleton, keypoints, scores, flags, boxes, heads, tuple(tracks), ignore_regions=regions, size=size,
        person_scores=person_scores, number=number,
    )  # fmt: skip


def _boxes(draw: np.random.Generator, people: int) -> FloatArray:
    low = draw.uniform(0, 300, (people, 2))
    return np.concatenate([low, low + draw.uniform(5, 200, (people, 2))], axis=1).round(3)


def _spoil(array: FloatArray, draw: np.random.Generator) -> None:
    """Puts odd numbers into an array."""
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, -600, 0, -0.0, 5e-324, 1e9])
    places = draw.random(array.shape) < draw.choice([0, 0.02, 0.3])
    array[places] = draw.choice(odd, int(places.sum()))


# Mutations.


def _put_mutated(path: Path, content: bytes, draw: random.Random) -> None:
    """Writes a file with something wrong about it, or now and then nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    choice = draw.random()
    if choice < 0.002:
        put_something_else(path, draw)
    elif choice < 0.08:
        path.write_bytes(content)
    elif choice < 0.72 and (document := _parsed(content)) is not None:
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            document = _mutated(document, draw)
        path.write_bytes(_text(document))
    else:
        path.write_bytes(_mutated_bytes(content, draw))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _text(document: Any) -> bytes:
    text = json.dumps(document)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def _nodes(document: Any) -> list[tuple[Any, Any]]:
    """Returns every place in a document, as a container and a key in it."""
    places: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                stack.append(node[key])
    return places


def _mutated(document: Any, draw: random.Random) -> Any:
    """Changes one place of a document, which may be the document itself."""
    places = _nodes(document)
    if not places or draw.random() < 0.01:
        return copy.deepcopy(draw.choice(_ODD))
    # Most places are numbers of keypoints: half of the time, a place elsewhere is taken.
    if draw.random() < 0.5:
        places = [(c, k) for c, k in places if not isinstance(c, list) or isinstance(c[k], dict | list)] or places
    container, key = draw.choice(places)
    change = draw.choice((_replace, _replace, _replace, _delete, _duplicate, _retype, _nest, _rename, _swap, _cut))
    change(container, key, draw)
    return document


def _replace(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = copy.deepcopy(draw.choice(_ODD))


def _delete(container: Any, key: Any, draw: random.Random) -> None:
    del container[key]


def _duplicate(container: Any, key: Any, draw: random.Random) -> None:
    twin = json.loads(json.dumps(container[key]))  # goes deeper than deepcopy
    if isinstance(container, list):
        container.insert(draw.randint(0, len(container)), twin)
    else:
        container[draw.choice((f"{key}2", "id", "keypoints", "odd\nkey", "x" * 3000, "\ud800"))] = twin


def _retype(container: Any, key: Any, draw: random.Random) -> None:
    value = container[key]
    makers: tuple[Callable[[], Any], ...] = (
        lambda: str(value)[:100],
        lambda: [value],
        lambda: {"0": value},
        lambda: bool(value),
        lambda: [*value] if isinstance(value, dict) else dict.fromkeys("ab", value),
        lambda: value + 0.5 if isinstance(value, int) else -1,
        lambda: float(value) if isinstance(value, int) and abs(value) < 2**53 else None,
    )
    container[key] = draw.choice(makers)()


def _nest(container: Any, key: Any, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 2, 50, 150))):
        container[key] = [container[key]] if draw.random() < 0.5 else {"a": container[key]}


def _rename(container: Any, key: Any, draw: random.Random) -> None:
    if isinstance(container, dict):
        names = (f"{key}s", key[:-1], "a\nb", key.upper(), draw.choice(list(container)))
        container[draw.choice(names)] = container.pop(key)
    else:
        container.append(container.pop(key))


def _swap(container: Any, key: Any, draw: random.Random) -> None:
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    other = draw.choice(keys)
    container[key], container[other] = container[other], container[key]


def _cut(container: Any, key: Any, draw: random.Random) -> None:
    if isinstance(container[key], list | str):
        container[key] = container[key][: draw.randint(0, len(container[key]))]
    else:
        container[key] = -container[key] if isinstance(container[key], int | float) else None


_INSERTIONS = (b"\0", b"\xff\xfe", b"[", b"}", b",", b'"', b"-", b"e", b"9")


def _mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Damages bytes, or puts them into another encoding."""
    place, other = draw.randint(0, len(content)), draw.randint(0, len(content))
    low, high = min(place, other), max(place, other)
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: _flipped(content, draw),
        lambda: _flipped(content, draw),
        lambda: content[:place],
        lambda: content[:-1],
        lambda: content[:low] + content[high:],
        lambda: content[:place] + content[low : low + 50] + content[place:],
        lambda: content[:place] + draw.choice(_INSERTIONS) + content[place:],
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32", "utf-16-le", "utf-7"))),
        lambda: content + draw.choice((b"\n", b"\0", b"{}", content[:100], b"\xff")),
        lambda: content.replace(b",", b",\r\n"),
        lambda: draw.choice((b"", b"null", b"[]", b"{}", b"0", b'""', b"\xff\xfe", b"NaN", b" ", b"PK\x03\x04")),
        lambda: draw.choice((_RAW["@deep@"], _RAW["@digits@"])).encode(),
    )
    return draw.choice(makers)()


def _flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 2, 8)) if changed else 0):
        changed[draw.randrange(len(changed))] = draw.choice((draw.randrange(256), *b'0129-."e[]{},:'))
    return bytes(changed)


# What has to be kept.


def _through(file_format: Format, sequences: list[PoseSequence], path: Path) -> tuple[list[PoseSequence], Path]:
    """Returns sequences written and read again, and where they lie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file_format.write(sequences, path)
    return file_format.read(path), path


def _frames(sequences: list[PoseSequence]) -> list[Frame]:
    return [frame for sequence in sequences for frame in sequence.frames]


def _counts(sequences: list[PoseSequence]) -> list[list[int]]:
    return [[len(frame) for frame in sequence.frames] for sequence in sequences]


def _changed(sequence: PoseSequence, change: Callable[[Frame], Frame]) -> PoseSequence:
    return replace(sequence, frames=[change(frame) for frame in sequence.frames])


def _moved(frame: Frame) -> Frame:
    return replace(frame, keypoints=frame.keypoints + _SHIFT)


def _with_new_person(frame: Frame) -> Frame:
    """Returns a frame without its first person, but with the same one as a new one at the end, if there is a pose."""
    if not frame.is_posed[:1].any():
        return frame
    turned = frame.select(np.roll(np.arange(len(frame)), -1))
    return replace(turned, records=np.append(turned.records[:-1], NO_RECORD))


def _difference(before: list[PoseSequence], after: list[PoseSequence]) -> str | None:
    """Returns the first difference between sequences."""
    if _counts(before) != _counts(after):
        return f"people: {_counts(before)} became {_counts(after)}"
    for one, other in zip(_frames(before), _frames(after), strict=True):
        for name in ("image", "skeleton", "track_ids"):
            if getattr(one, name) != getattr(other, name):
                return f"{name}: {getattr(one, name)!r:.200} became {getattr(other, name)!r:.200}"
        for name in ("keypoints", "scores", "flags"):
            if not np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True):
                return f"{one.image!r:.40}: {name}: {getattr(one, name)} became {getattr(other, name)}"
    return None


def _document_difference(source: Path, target: Path) -> str | None:
    """Returns in which JSON file two sources differ."""
    pairs = [("", source, target)]
    if source.is_dir():
        names = sorted({str(p.relative_to(f)) for f in (source, target) for p in f.rglob("*.json")})
        pairs = [(name, source / name, target / name) for name in names]
    for name, before, after in pairs:
        if source.is_dir() and not (before.is_file() and after.is_file()):
            return f"{name}: only one of both has it"
        if before.suffix == ".json" and _canonical(before) != _canonical(after):
            return f"{name or 'the file'}: the document differs"
    return None


def _canonical(path: Path) -> str:
    """Returns a document as a text that is the same for equal ones, NaN included."""
    return json.dumps(json.loads(path.read_bytes()), sort_keys=True)
