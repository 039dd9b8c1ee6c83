"""What every format promises: nothing is lost on the way back, and whatever cannot be read is refused in one line."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from conftest import GOLDEN
from documents import changed, read, refusal, with_another, with_frame, with_keypoints
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of

from hpr.formats import FORMATS, Format, get_format, recognise
from hpr.poses import Frame, PoseSequence, image_stem
from hpr.skeleton import COCO17, HALPE26, POSETRACK15, POSETRACK18, SKELETONS, Skeleton

FILES = GOLDEN / "formats"
IMAGES = str(GOLDEN / "images")

EXAMPLES: dict[str, tuple[str, Path]] = {
    **{f"{name} {clip}": (name, GOLDEN / name / "predictions" / f"{clip}.json")
       for name in ("posetrack18", "posetrack17") for clip in ("seq_a", "seq_b")},
    "posetrack21": ("posetrack21", FILES / "posetrack21" / "000001_bonn_train.json"),
    **{f"coco {name}": ("coco", FILES / "coco" / f"{name}.json")
       for name in ("annotations", "results", "results_flags")},
    **{f"crowdpose {name}": ("crowdpose", FILES / "crowdpose" / f"{name}.json") for name in ("annotations", "results")},
    **{f"openpose {name}": ("openpose", FILES / "openpose" / name) for name in ("clip", "coco", "scale_3", "scale_4")},
    "openpose file": ("openpose", FILES / "openpose" / "clip" / "clip_000000000010_keypoints.json"),
    **{f"alphapose {name}": ("alphapose", FILES / "alphapose" / f"{name}.json") for name in ("results", "cmu")},
    **{f"mmpose {name}": ("mmpose", FILES / "mmpose" / name)
       for name in ("predictions", "clip.json", "results_clip.json", "results_a_640x480.json")},
    **{f"ultralytics {name}": ("ultralytics", FILES / "ultralytics" / name) for name in ("results", "normalised")},
    **{f"labels {name}": ("ultralytics_labels", FILES / "ultralytics_labels" / name)
       for name in ("data_set", "predictions")},
    "mpii": ("mpii", FILES / "mpii" / "records.json"),
    "npz": ("npz", Path("poses.npz")),
}  # fmt: skip
"""A format and a source of it; that of arrays is made by `example`."""

TOLERANCES = {"openpose": 1e-3, "ultralytics": 5e-3, "ultralytics_labels": 1e-3}
"""Pixels by which coordinates that are relative to the image's size may be off."""

ARRAYS = ("keypoints", "scores", "flags", "person_scores", "track_ids", "images", "frames")
"""Those with a row for each person."""

POSE_FIELDS = {
    *("keypoints", "scores", "flags", "num_keypoints", "pose_keypoints_2d", "keypoint_scores", "annopoints"),
    *("joints", "joints_vis"),
}
"""Fields of records that change with a pose."""


def example(name: str, folder: Path) -> tuple[Format, Path]:
    """Returns a format and an example of its sources."""
    format_name, path = EXAMPLES[name]
    if format_name == "npz":
        path = folder / path
        arrays = {"scores": np.full((3, 17), 0.25, np.float32), "flags": np.ones((3, 17)), "track_ids": np.arange(3)}
        arrays |= {"keypoints": np.arange(102.0).reshape(3, 17, 2), "frames": np.array([9, 2, 9], np.int16)}
        arrays |= {"all_frames": np.arange(12), "mine": np.arange(5), "odd": np.array("x")}
        np.savez(path, skeleton="coco17", **arrays)  # type: ignore[arg-type]
    return get_format(format_name, images=IMAGES), path


def content(path: Path) -> Any:
    """Returns what a source says, for json.dumps, since NaN is not equal; a folder by the names of its files."""
    if path.is_dir():
        return {file.name: content(file) for file in sorted(path.iterdir(), key=lambda own: (len(own.name), own.name))}
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".txt":
        return path.read_text().splitlines()
    with np.load(path) as archive:
        found = {key: (array.tolist(), str(array.dtype)) for key, array in archive.items()}
    rows = sorted(key for key, (values, _) in found.items() if isinstance(values, list) and key in ARRAYS)
    people = [dict(zip(rows, values, strict=True)) for values in zip(*(found[key][0] for key in rows), strict=True)]
    return {"people": people, **{key: found[key] for key in sorted(found.keys() - set(rows))}}


def record_lists(document: Any) -> list[list[Any]]:
    """Returns the lists in which a source keeps people's records."""
    if isinstance(document, list):
        return [entry["instances"] for entry in document] if document and "instances" in document[0] else [document]
    for key in ("annotations", "people"):
        if isinstance(document.get(key), list):
            return [document[key]]
    if "instance_info" in document:
        return record_lists(document["instance_info"])
    if "annolist" in document:
        return [entry["annorect"] for entry in document["annolist"]]
    if all(isinstance(entry, dict) and "bodies" in entry for entry in document.values()):
        return [entry["bodies"] for entry in document.values()]
    return [own for entry in document.values() for own in record_lists(entry)]


def without(document: Any, rows: set[int]) -> Any:
    """Returns what a source says without some records, counted from its first."""
    row = 0
    for records in record_lists(document):
        stay = [i for i in range(len(records)) if row + i not in rows]
        row += len(records)
        records[:] = [records[i] for i in stay]
    return document


def rewrite(file_format: Format, sequence: PoseSequence, source: Path, folder: Path) -> tuple[Path, PoseSequence]:
    """Writes a sequence and reads it again."""
    folder.mkdir(exist_ok=True)
    file_format.write([sequence], folder / source.name)
    return folder / source.name, read(file_format, folder / source.name)


def assert_same_keypoints(found: Sequence[Frame], expected: Sequence[Frame], file_format: Format) -> None:
    """Checks the keypoints of all people; PoseTrack's ears have no place."""
    for one, other in zip(found, expected, strict=True):
        own = POSETRACK15 if file_format.metric == "posetrack" else one.skeleton
        first, second = (frame.in_skeleton(own).keypoints for frame in (one, other))
        np.testing.assert_allclose(first, second, rtol=0, atol=TOLERANCES.get(file_format.name, 1e-9))


def files_in(path: Path) -> dict[str, bytes]:
    """Returns the bytes of a source's files."""
    return {file.name: file.read_bytes() for file in (path.iterdir() if path.is_dir() else [path])}


@pytest.mark.parametrize("name", EXAMPLES)
def test_is_recognised_and_written_as_it_was(name: str, tmp_path: Path) -> None:
    """With all fields that nobody knows, in the same order, and the same bytes each time."""
    file_format, source = example(name, tmp_path)
    assert recognise(source) == file_format.name
    once, sequence = rewrite(file_format, read(file_format, source), source, tmp_path / "once")
    twice, _ = rewrite(file_format, sequence, source, tmp_path / "twice")
    assert json.dumps(content(once)) == json.dumps(content(source))
    assert files_in(once) == files_in(twice)


@pytest.mark.parametrize("name", EXAMPLES)
def test_keypoints_that_the_network_adds_have_no_place(name: str, tmp_path: Path) -> None:
    file_format, source = example(name, tmp_path)
    odd = Skeleton(("odd",), (), (0.079,))

    def grow(frame: Frame) -> Frame:
        return with_keypoints(frame.in_skeleton(frame.skeleton.joined(odd)), slice(None), odd=(1.5, 2))

    path, _ = rewrite(file_format, changed(read(file_format, source), grow), source, tmp_path / "out")
    assert json.dumps(content(path)) == json.dumps(content(source))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_changed_pose(name: str, tmp_path: Path) -> None:
    """The pose alone is written into the person's record; everything else stays."""
    file_format, source = example(name, tmp_path)
    sequence = read(file_format, source)
    index = max(range(len(sequence.frames)), key=lambda i: len(sequence.frames[i].select(sequence.frames[i].is_posed)))
    frame = sequence.frames[index]
    person = int(np.flatnonzero(frame.is_posed)[-1])
    keypoints = frame.keypoints.copy()
    keypoints[person] += 0.5

    changed_sequence = with_frame(sequence, index, replace(frame, keypoints=keypoints))
    path, found = rewrite(file_format, changed_sequence, source, tmp_path / "out")
    assert_same_keypoints(found.frames, changed_sequence.frames, file_format)

    row = int(frame.records[person])
    assert json.dumps(without(content(path), {row})) == json.dumps(without(content(source), {row}))
    before, after = ([r for own in record_lists(content(p)) for r in own][row] for p in (source, path))
    assert before != after
    if isinstance(before, dict):
        assert list(before) == list(after)
        assert {key for key in before if json.dumps(before[key]) != json.dumps(after[key])} <= POSE_FIELDS


@pytest.mark.parametrize("name", EXAMPLES)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_whoever_is_dropped_is_gone_and_nothing_else(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fewer")
    file_format, source = example(name, folder)
    sequence = read(file_format, source)
    masks = [data.draw(arrays_of(np.bool_, len(frame))) for frame in sequence.frames]
    pairs = list(zip(sequence.frames, masks, strict=True))
    gone = {row for frame, mask in pairs for row in frame.records[~mask].tolist()}
    fewer = replace(sequence, frames=[frame.select(mask) for frame, mask in pairs])
    path, _ = rewrite(file_format, fewer, source, folder / "out")
    assert json.dumps(content(path)) == json.dumps(without(content(source), gone))


@pytest.mark.parametrize("name", EXAMPLES)
def test_somebody_new_in_every_image(name: str, tmp_path: Path) -> None:
    """Records of new people come last; those of the others stay."""
    file_format, source = example(name, tmp_path)
    sequence = read(file_format, source)
    poses = [pose for frame in sequence.frames for pose in frame.poses if np.isfinite(pose).any()]
    larger = changed(sequence, lambda frame: with_another(frame, frame.poses[0] if len(frame) else poses[0]))
    path, found = rewrite(file_format, larger, source, tmp_path / "out")
    assert_same_keypoints(found.frames, larger.frames, file_format)
    for before, after in zip(record_lists(content(source)), record_lists(content(path)), strict=True):
        assert json.dumps(after[: len(before)]) == json.dumps(before)


SCORE_KEYS = {"coco results": "score", "alphapose results": "score", "mmpose predictions": "bbox_score",
              "ultralytics results": "confidence", "npz": "person_scores"}  # fmt: skip


@pytest.mark.parametrize("name", SCORE_KEYS)
@pytest.mark.parametrize("score", [None, 0.125], ids=["as in the file", "a new one"])
def test_scores_of_people(name: str, score: float | None, tmp_path: Path) -> None:
    """The score of a person whose pose has changed; one that stays is written as it was, to the last digit."""
    file_format, source = example(name, tmp_path)
    if file_format.name == "npz":
        arrays = {"keypoints": np.ones((2, 17, 2)), "frames": [0, 1], "person_scores": np.ones(2, "f4")}
        np.savez(source, skeleton="coco17", **arrays)  # type: ignore[arg-type]
    sequence = read(file_format, source)
    key, frame = SCORE_KEYS[name], sequence.frames[0]
    scores = frame.person_scores.copy() if score is None else np.full(len(frame), score)
    first = replace(frame, keypoints=frame.keypoints + 1, person_scores=scores)

    path, _ = rewrite(file_format, with_frame(sequence, 0, first), source, tmp_path / "out")
    before, after = ([r for own in record_lists(content(p)) for r in own] for p in (source, path))
    for row in frame.records[frame.is_posed].tolist():
        before[row][key] = before[row][key] if score is None else score
    assert [str(record[key]) for record in after] == [str(record[key]) for record in before]


# From scratch


class Holds(NamedTuple):
    """What a format has a place for, beside keypoints: fields of `Frame`."""

    fields: str = ""
    images: Callable[[str], str] = str
    drops_empty: bool = False
    tolerance: float = 0.0


HOLDS = {
    "posetrack18": Holds("scores flags boxes head_boxes track_ids ignore_regions size"),
    "posetrack21": Holds("scores flags boxes head_boxes track_ids ignore_regions size"),
    "posetrack17": Holds("scores head_boxes track_ids ignore_regions"),
    **dict.fromkeys(("coco", "crowdpose"), Holds("flags boxes person_scores size")),
    "openpose": Holds("scores track_ids", image_stem),
    "alphapose": Holds("scores boxes track_ids person_scores", drops_empty=True),
    "mmpose": Holds("scores boxes person_scores number", lambda image: ""),
    "ultralytics": Holds("scores boxes track_ids person_scores", image_stem),
    "ultralytics_labels": Holds("scores boxes track_ids person_scores", image_stem, tolerance=1e-5),
    "mpii": Holds("flags head_boxes", drops_empty=True, tolerance=1e-9),
    "npz": Holds("scores flags boxes head_boxes track_ids person_scores number"),
}


@st.composite
def sequences(draw: st.DrawFn) -> PoseSequence:
    """Up to three frames of up to three people, any of whose keypoints may be missing or not finite."""
    skeleton = draw(st.sampled_from([COCO17, POSETRACK15, HALPE26]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    names = draw(st.lists(st.text("aä b_", min_size=1, max_size=4), unique=True, min_size=1, max_size=3))
    frames = []
    for number, name in enumerate(names):
        people, count = draw(st.integers(0, 3)), len(skeleton)
        keypoints = random.uniform(2, 600, (people, count, 2)).round(3)
        keypoints[random.random((people, count)) < 0.3] = np.nan
        keypoints[random.random((people, count)) < 0.1] = np.inf
        is_there = np.isfinite(keypoints[..., 0])
        scores = np.where(is_there, random.uniform(0.01, 0.99, (people, count)).round(3), np.nan)
        flags = np.where(is_there, random.choice([1.0, 2.0], (people, count)), 0.0)
        boxes, heads = random.uniform(0, 300, (2, people, 4)).round(3)
        others: dict[str, Any] = {"track_ids": tuple(range(people)), "size": (640, 480), "number": number}
        others["ignore_regions"] = tuple(random.uniform(0, 600, (4, 2)).round(3) for _ in range(people))
        others["person_scores"] = random.uniform(0.01, 0.99, people).round(3)
        frames.append(Frame(f"x/{name}.jpg", skeleton, keypoints, scores, flags, boxes, heads, **others))
    return PoseSequence("s", frames)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=25)
@given(sequence=sequences())
def test_from_scratch_nothing_is_lost(
    name: str, sequence: PoseSequence, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of what the format has a place for; and writing it onto its file changes nothing."""
    folder, holds = tmp_path_factory.mktemp("scratch"), HOLDS[name]
    for frame in sequence.frames:
        cv2.imwrite(str(folder / f"{image_stem(frame.image)}.png"), np.zeros((480, 640, 3), np.uint8))
    file_format = get_format(name, images=str(folder))
    path, found = rewrite(file_format, sequence, Path(f"a{file_format.ending}"), folder / "out")
    again, _ = rewrite(file_format, found, path, folder / "again")
    assert json.dumps(content(again)) == json.dumps(content(path))

    # Formats with a file for each image have these in the order of their names.
    frames = [frame for frame in sequence.frames if len(frame) or not holds.drops_empty]
    if holds.images is image_stem:
        order = [frame.image for frame in found.frames]
        frames.sort(key=lambda frame: order.index(image_stem(frame.image)))
    for after, before in zip(found.frames, frames, strict=True):
        assert holds.images(before.image) in after.image
        assert_held(after, before, name)


def assert_held(after: Frame, before: Frame, name: str) -> None:
    """Checks what a format has a place for."""
    own, held, tolerance = before.in_skeleton(after.skeleton), HOLDS[name].fields.split(), HOLDS[name].tolerance
    if after.skeleton is POSETRACK18:
        own = own.in_skeleton(POSETRACK15).in_skeleton(after.skeleton)  # PoseTrack leaves the ears empty
    is_there = np.isfinite(own.keypoints[..., 0])
    expected = own.keypoints if name == "npz" else np.where(is_there[..., None], own.keypoints, np.nan)
    np.testing.assert_allclose(after.keypoints, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(after.flags[is_there], own.flags[is_there] if "flags" in held else 1)
    np.testing.assert_allclose(after.scores[is_there], own.scores[is_there] if "scores" in held else np.nan, atol=1e-8)
    for key in ("boxes", "head_boxes", "person_scores"):
        values = getattr(own, key) if key in held else np.full_like(getattr(own, key), np.nan)
        np.testing.assert_allclose(getattr(after, key), values, rtol=0, atol=max(tolerance, 2e-6), err_msg=key)
    assert after.track_ids == (own.track_ids if "track_ids" in held else (None,) * len(own))
    assert after.size == (own.size if "size" in held or tolerance == 1e-5 else None)
    if "number" in held:
        assert after.number == own.number
    if "ignore_regions" in held:
        np.testing.assert_array_equal(after.ignore_regions, own.ignore_regions)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_and_nobody(name: str, tmp_path: Path) -> None:
    """Images without people are kept where the format has a place for them."""
    for frames in ([], [replace(Frame.empty("a.jpg", COCO17), size=(640, 480))]):
        file_format = get_format(name, images=IMAGES)
        file_format.write([PoseSequence("s", frames)], tmp_path / f"{len(frames)}{file_format.ending}")
        if frames and name == "ultralytics_labels":
            continue  # reading it again needs the image
        found = read(file_format, tmp_path / f"{len(frames)}{file_format.ending}")
        expected = 0 if HOLDS[name].drops_empty else 1 if name == "mmpose" else len(frames)  # [] is an image
        assert [len(frame) for frame in found.frames] == [0] * expected


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_pose_of_any_skeleton(name: str, skeleton: Skeleton, tmp_path: Path) -> None:
    """Keypoints go together by name."""
    file_format, keypoints = get_format(name, images=IMAGES), np.arange(2.0 * len(skeleton)).reshape(1, -1, 2) + 2
    frame = Frame("a_640x480.jpg", skeleton, keypoints, size=(640, 480))
    file_format.write([PoseSequence("s", [frame])], tmp_path / f"a{file_format.ending}")
    assert recognise(tmp_path / f"a{file_format.ending}") == name
    (found,) = read(file_format, tmp_path / f"a{file_format.ending}").frames
    expected = frame.in_skeleton(POSETRACK15) if file_format.metric == "posetrack" else frame
    np.testing.assert_allclose(found.keypoints, expected.in_skeleton(found.skeleton).keypoints, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "broken",
    [
        *(None, b'{"images": [', b"\xff", b"5", b"text", b"[" * 100_000, b'{"images": [{"id": ' + b"1" * 4301 + b"}]}"),
        *(b"\xef\xbb\xbf\0", b"[5]", b'{"a": 1}'),
    ],
    ids=lambda broken: repr(broken)[:14],
)
@pytest.mark.parametrize("name", FORMATS)
def test_odd_content_is_refused_in_one_line(name: str, broken: bytes | None, tmp_path: Path) -> None:
    file_format = get_format(name, images=IMAGES)
    path = tmp_path / f"a{file_format.ending}"
    if broken is not None:
        path.write_bytes(broken)
    assert ("no such file" in refusal(file_format, path)) == (broken is None)
