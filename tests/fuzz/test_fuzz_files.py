"""Wild pose files: what a format writes, mutated, is read whole or refused in one line."""

import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import note
from hypothesis import strategies as st
from strategies import RANDOM, drawn_frames, mutated_bytes, mutated_json, put_something_else, try_often, unless_refused

from hpr.formats import FORMATS, Format, PoseTrack18, recognise
from hpr.poses import NO_RECORD, Frame, PoseSequence
from hpr.skeleton import POSETRACK15

ARGUMENTS: dict[str, Any] = {"seed": st.integers(0, 47), "draw": RANDOM}
"""Each seed is a document that is mutated."""

SEEDS = tempfile.TemporaryDirectory()


def constructed(kind: type[Format], folder: Path) -> Format:
    """Returns a format that reads those of its files beside a source that are in a folder."""
    constructor: Callable[..., Format] = kind
    beside = {"images": folder / "images", "annotations": folder / "annotations.json"}
    names = beside.keys() & set(kind.reads_beside)
    return constructor(**{name: str(beside[name]) if beside[name].exists() else None for name in names})


@cache
def seed_folder(kind: type[Format], seed: int) -> Path:
    """Writes a source; what lies beside it has to be right, so that its frames are plain then."""
    draw = np.random.default_rng((seed, zlib.crc32(kind.name.encode())))
    sequence = PoseSequence("source", drawn_frames(draw, kind.skeletons, seed % 2 == 1 and not kind.reads_beside))
    folder = Path(tempfile.mkdtemp(dir=SEEDS.name))
    if "images" in kind.reads_beside:
        (folder / "images").mkdir()
        for frame in sequence.frames:
            cv2.imwrite(str(folder / "images" / frame.image), np.zeros((480, 640), np.uint8))
    if "annotations" in kind.reads_beside and seed % 4:
        constructed(kind, folder).write([sequence], folder / "annotations.json")
    (folder / "source").mkdir()
    constructed(kind, folder).write([sequence], folder / "source" / f"a{'' if kind.is_folder else kind.ending}")
    return folder


def attempt(kind: type[Format], seed: int, draw: Random) -> str:
    """Reads a seed's files, mostly with one of them mutated; returns whether they were "read" or "refused"."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(seed_folder(kind, seed), folder, dirs_exist_ok=True)
        files = sorted(path for path in (folder / "source").rglob("*") if path.is_file())
        (source,) = (folder / "source").iterdir()
        if files and draw.random() < 0.9:
            path = draw.choice(files)
            is_json = path.suffix == ".json" and draw.random() < 0.7
            odd = (mutated_json if is_json else mutated_bytes)(path.read_bytes(), draw)
            note(f"{path.name}: {odd[:3000]!r}")
            path.write_bytes(odd)
            if draw.random() < 0.02:
                put_something_else(path, draw)

        file_format = constructed(kind, folder)
        unless_refused(lambda: recognise(source))
        sequences = unless_refused(lambda: file_format.read(source))
        if sequences is None:
            return "refused"
        check_nothing_is_lost(file_format, sequences, source, folder)
        return "read"


def check_nothing_is_lost(file_format: Format, sequences: list[PoseSequence], source: Path, folder: Path) -> None:
    """Writes what has been read: as it was, with all poses moved, and with another person for the first."""
    found, target = through(file_format, sequences, folder / "same" / source.name)
    for before, after in zip(frames_of(sequences), frames_of(found), strict=True):
        assert (before.image, before.skeleton, before.track_ids) == (after.image, after.skeleton, after.track_ids)
        for name in ("keypoints", "scores", "flags"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=f"lost {name}")
    assert documents(target) == documents(source), "lost field"

    moved = [changed(own, lambda frame: replace(frame, keypoints=frame.keypoints + 0.37)) for own in sequences]
    found, _ = through(file_format, moved, folder / "moved" / source.name)
    for one, other in zip(frames_of(moved), frames_of(found), strict=True):
        skeleton = POSETRACK15 if file_format.metric == "posetrack" else one.skeleton  # PoseTrack leaves ears empty
        expected, own = one.in_skeleton(skeleton), other.in_skeleton(skeleton)
        assert len(expected) == len(own), "lost person"
        with np.errstate(invalid="ignore"):
            close = np.isclose(own.keypoints, expected.keypoints, rtol=1e-6, atol=0.01)
        assert np.asarray(close)[expected.present].all(), f"lost pose: {expected.keypoints} became {own.keypoints}"

    regrouped = [changed(sequence, with_new_person) for sequence in sequences]
    found, _ = through(file_format, regrouped, folder / "new" / source.name)
    # Formats without a list of images have these in the order of their people.
    expected_counts, counts = (sorted((f.image, len(f)) for f in frames_of(own)) for own in (regrouped, found))
    assert expected_counts == counts, "lost person"


def through(file_format: Format, sequences: list[PoseSequence], path: Path) -> tuple[list[PoseSequence], Path]:
    """Returns sequences written and read again, and where they lie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file_format.write(sequences, path)
    return file_format.read(path), path


def frames_of(sequences: Sequence[PoseSequence]) -> list[Frame]:
    return [frame for sequence in sequences for frame in sequence.frames]


def changed(sequence: PoseSequence, change: Callable[[Frame], Frame]) -> PoseSequence:
    return replace(sequence, frames=[change(frame) for frame in sequence.frames])


def with_new_person(frame: Frame) -> Frame:
    """Returns a frame without its first person, but with the same one as a new one at the end, if there is a pose."""
    if not frame.is_posed[:1].any():
        return frame
    turned = frame.select(np.roll(np.arange(len(frame)), -1))
    return replace(turned, records=np.append(turned.records[:-1], NO_RECORD))


def documents(source: Path) -> dict[str, str]:
    """Returns the JSON files of a source as texts that are the same for equal documents, NaN included."""
    paths = source.rglob("*.json") if source.is_dir() else source.parent.glob(f"{source.stem}.json")
    return {path.name: json.dumps(json.loads(path.read_bytes()), sort_keys=True) for path in paths}


@pytest.mark.filterwarnings("error::RuntimeWarning")  # a user would see numpy's in the midst of the output
@pytest.mark.parametrize("name", FORMATS)
def test_files_are_read_whole_or_refused(name: str) -> None:
    counts = try_often(partial(attempt, FORMATS[name]), 25, **ARGUMENTS)
    assert min(counts["read"], counts["refused"]) > 2


class ForgetsFields(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        super().write([replace(sequence, original=None) for sequence in sequences], path)


class WritesWhatItRead(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        if sequences[0].original is None:
            super().write(sequences, path)
        else:
            path.write_text(json.dumps(sequences[0].original.document))


class ForgetsPeople(PoseTrack18):
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        known = [changed(own, lambda f: f.select(f.records >= 0)) if own.original else own for own in sequences]
        super().write(known, path)


class Fails(PoseTrack18):
    def read(self, path: Path) -> list[PoseSequence]:
        raise KeyError(path.name)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(ForgetsFields, "lost field"), (WritesWhatItRead, "lost pose"), (ForgetsPeople, "lost person"), (Fails, "a.json")],
)
def test_what_a_broken_format_does_is_found(kind: type[Format], words: str) -> None:
    with pytest.raises((AssertionError, KeyError), match=words):
        try_often(partial(attempt, kind), 60, **ARGUMENTS)
