"""Writing what was not read from a file of the format: nothing is lost that the format can hold."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from documents import read, rewritten
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpr.formats import PoseTrack17, PoseTrack18
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, SKELETONS, Skeleton

EARS = POSETRACK18.indices("left_ear", "right_ear")
NUMBERS = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
FLAGS = st.sampled_from([0.0, 0.3, 1.0, 2.0])
IMAGE_NAMES = st.lists(st.text("aä b.1", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


@st.composite
def frames(draw: st.DrawFn, skeleton: Skeleton, flags: "st.SearchStrategy[float]") -> Frame:
    """A frame of up to three people, any part of whom may be missing."""
    people, count = draw(st.integers(0, 3)), len(skeleton)

    def drawn(*shape: int, elements: Any = NUMBERS) -> FloatArray:
        return draw(arrays(np.float64, (people, *shape), elements=elements))

    def some(*shape: int) -> Any:
        return draw(arrays(np.bool_, (people, *shape)))

    keypoints, scores, boxes, head_boxes = drawn(count, 2), drawn(count), drawn(4), drawn(4)
    keypoints[some(count)] = np.nan
    keypoints[some(count) & some(count)] = np.inf
    for array in (scores, boxes, head_boxes):
        array[some()] = np.nan
    regions = st.integers(0, 4).flatmap(lambda n: arrays(np.float64, (n, 2), elements=NUMBERS))
    return Frame(
        draw(IMAGE_NAMES),
        skeleton,
        keypoints,
        scores,
        np.where(np.isnan(keypoints[..., 0]), 0.0, drawn(count, elements=flags)),
        boxes,
        head_boxes,
        tuple(draw(st.none() | st.integers() | st.text(max_size=3)) for _ in range(people)),
        posed=some(),
        ignore_regions=tuple(draw(st.lists(regions, max_size=2))),
        size=draw(st.none() | st.just((640, 480))),
    )


@st.composite
def sequences(draw: st.DrawFn, flags: "st.SearchStrategy[float]") -> PoseSequence:
    skeleton = draw(st.sampled_from([POSETRACK18, POSETRACK15, COCO17]))
    return PoseSequence("a", draw(st.lists(frames(skeleton, flags), max_size=3)))


def held18(frame: Frame) -> Frame:
    """What a PoseTrack 2018 file can hold of a frame."""
    own = frame.in_skeleton(POSETRACK18)
    keypoints, scores, flags = own.keypoints.copy(), own.scores.copy(), own.flags.copy()
    keypoints[:, EARS], scores[:, EARS] = np.nan, np.nan
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = np.nan
    keypoints[(keypoints == 0).all(axis=-1) & (flags == 0)] = np.nan
    flags[np.isnan(keypoints[..., 0])] = 0
    has_scores = ~np.isnan(scores).all(axis=1)
    scores[has_scores] = np.nan_to_num(scores[has_scores])
    return replace(own, keypoints=keypoints, scores=scores, flags=flags, posed=np.ones(len(frame), bool))


def held17(frame: Frame) -> Frame:
    """What a PoseTrack 2017 file can hold of a frame."""
    own = frame.in_skeleton(POSETRACK15)
    present = np.isfinite(own.keypoints).all(axis=-1) & own.posed[:, None]
    return replace(
        own,
        keypoints=np.where(present[..., None], own.keypoints, np.nan),
        scores=np.where(present, own.scores, np.nan),
        flags=present.astype(np.float64),
        boxes=np.full((len(frame), 4), np.nan),
        size=None,
    )


HELD = {"posetrack18": held18, "posetrack17": held17}


def assert_same(found: Frame, expected: Frame) -> None:
    assert (found.image, found.track_ids, found.size) == (expected.image, expected.track_ids, expected.size)
    assert found.skeleton is expected.skeleton
    for name in ("keypoints", "scores", "flags", "posed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("boxes", "head_boxes"):  # with corners or with sides, in millionths of a pixel
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=2e-6, err_msg=name)
    assert len(found.ignore_regions) == len(expected.ignore_regions)
    for one, other in zip(found.ignore_regions, expected.ignore_regions, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", POSETRACK)
@pytest.mark.parametrize("skeleton", [POSETRACK18, POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
def test_nobody(skeleton: Skeleton, name: str, tmp_path: Path) -> None:
    for number, part in enumerate(([], [Frame.empty("a.jpg", skeleton)])):
        POSETRACK[name].write([PoseSequence("a", part)], tmp_path / f"{number}.json")
        found = read(POSETRACK[name], tmp_path / f"{number}.json")
        assert found.name == str(number)
        assert [(frame.image, len(frame)) for frame in found.frames] == [(frame.image, 0) for frame in part]


@pytest.mark.parametrize("name", POSETRACK)
@settings(deadline=None, max_examples=100)
@given(sequence=sequences(FLAGS))
def test_written_and_read_is_the_same(
    name: str, sequence: PoseSequence, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("scratch")
    POSETRACK[name].write([sequence], folder / "a.json")
    found = read(POSETRACK[name], folder / "a.json")
    assert found.name == "a"
    for after, before in zip(found.frames, sequence.frames, strict=True):
        assert_same(after, HELD[name](before))
    # Writing it onto its file changes nothing, and neither does writing it from scratch.
    document = json.loads((folder / "a.json").read_text())
    assert rewritten(POSETRACK[name], found, folder / "b.json") == document
    POSETRACK[name].write([replace(found, original=None)], folder / "a.json")
    for after, before in zip(read(POSETRACK[name], folder / "a.json").frames, found.frames, strict=True):
        assert_same(after, before)


@settings(deadline=None, max_examples=100)
@given(sequence=sequences(st.just(1.0)))
def test_from_2018_to_2017_and_back(sequence: PoseSequence, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("there")
    back = there_and_back([sequence], folder)
    for after, before in zip(back[0].frames, sequence.frames, strict=True):
        once = replace(held18(before), boxes=np.full((len(before), 4), np.nan), size=None)
        held = np.isfinite(once.keypoints).all(axis=-1)
        has_scores = np.asarray((held & ~np.isnan(once.scores)).any(axis=1))[:, None]
        scores = np.where(has_scores, np.where(held, once.scores, 0.0), np.nan)
        assert_same(after, replace(once, scores=scores))


def there_and_back(given: list[PoseSequence], folder: Path) -> list[PoseSequence]:
    """Writes sequences as 2018, reads them, writes what was read as 2017, reads that, writes it as 2018, reads it."""
    for name, file_format in (("a", PoseTrack18()), ("b", PoseTrack17()), ("c", PoseTrack18())):
        (folder / name).mkdir()
        file_format.write(given, folder / name / "a.json")
        given = file_format.read(folder / name / "a.json")
    return given


@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_golden_files_from_2018_to_2017_and_back(clip: str, tmp_path: Path) -> None:
    sequence = read(PoseTrack18(), GOLDEN / "posetrack18" / "predictions" / f"{clip}.json")
    (back,) = there_and_back([sequence], tmp_path)
    assert sequence.people > 0
    for frame_after, frame_before in zip(back.frames, sequence.frames, strict=True):
        after, before = (frame.in_skeleton(POSETRACK15) for frame in (frame_after, frame_before))
        assert after.image == before.image
        assert after.track_ids == before.track_ids
        np.testing.assert_array_equal(after.poses, before.poses)
        np.testing.assert_array_equal(after.scores[before.present], before.scores[before.present])
        np.testing.assert_array_equal(after.head_boxes, before.head_boxes)


def test_people_are_seen_again_in_2017(tmp_path: Path) -> None:
    """Also those without a list of points, who count for the frame but are not scored."""
    frame = Frame("a.jpg", POSETRACK15, np.ones((2, 15, 2)), posed=np.array([False, True]), track_ids=(4, 5))
    PoseTrack17().write([PoseSequence("a", [frame])], tmp_path / "a.json")
    (found,) = read(PoseTrack17(), tmp_path / "a.json").frames
    assert found.posed.tolist() == [False, True]
    assert found.track_ids == (4, 5)


def test_a_posetrack18_document(tmp_path: Path) -> None:
    """Spelt out, for COCO's keypoints: what PoseTrack does not have is left out."""
    keypoints = np.full((2, 17, 2), np.nan)
    keypoints[0, COCO17.indices("nose", "left_eye", "left_ear", "right_ankle")] = [[1.5, 2], [3, 4], [5, 6], [7, 8]]
    scores = np.full((2, 17), np.nan)
    scores[0, COCO17.indices("nose", "left_ear")] = 0.5, 0.75
    frame = Frame(
        "clip/0.jpg",
        COCO17,
        keypoints,
        scores,
        boxes=np.array([[10, 20, 40, 60.5], [np.nan] * 4]),
        head_boxes=np.array([[np.nan] * 4, [1, 2, 3, 4]]),
        track_ids=(None, "b"),
        ignore_regions=(np.array([[0, 1], [2, 3.5]]),),
        size=(640, 480),
    )
    sequence = PoseSequence("clip", [Frame.empty("clip/n.jpg", COCO17), frame])
    common = {"vid_id": "clip", "nframes": 2, "is_labeled": True}
    regions = {"ignore_regions_x": [[0, 2]], "ignore_regions_y": [[1, 3.5]]}
    assert rewritten(PoseTrack18(), sequence, tmp_path / "a.json") == {
        "images": [
            {
                **{"id": 0, "frame_id": 0, "file_name": "clip/n.jpg", **common},
                **{"ignore_regions_x": [], "ignore_regions_y": []},
            },
            {"id": 1, "frame_id": 1, "file_name": "clip/0.jpg", **common, "width": 640, "height": 480, **regions},
        ],
        "annotations": [
            {
                **{"id": 0, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40.5]},
                "keypoints": [1.5, 2, 1, *[0] * 45, 7, 8, 1],
                "scores": [0.5, *[0] * 16],
            },
            {
                **{"id": 1, "image_id": 1, "category_id": 1, "track_id": "b", "bbox_head": [1, 2, 2, 2]},
                **{"keypoints": [0] * 51, "scores": []},
            },
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(POSETRACK18.names)}],
    }


def test_a_posetrack17_document(tmp_path: Path) -> None:
    keypoints = np.full((1, 17, 2), np.nan)
    keypoints[0, COCO17.indices("nose", "left_eye", "left_ear", "right_ankle")] = [[1.5, 2], [3, 4], [5, 6], [7, 8]]
    scores = np.full((1, 17), np.nan)
    scores[0, COCO17.indices("nose", "left_ear")] = 0.5, 0.75
    region = np.array([[0, 1], [2, 3.5]])
    head_box = np.array([[1.0, 2, 3, 4.5]])
    frame = Frame(
        "clip/0.jpg", COCO17, keypoints, scores, head_boxes=head_box, track_ids=(7,), ignore_regions=(region,)
    )
    sequence = PoseSequence("clip", [Frame.empty("clip/n.jpg", COCO17), frame])
    points = [{"id": [0], "x": [7.0], "y": [8.0]}, {"id": [13], "x": [1.5], "y": [2.0], "score": [0.5]}]
    assert rewritten(PoseTrack17(), sequence, tmp_path / "a.json") == {
        "annolist": [
            {"image": [{"name": "clip/n.jpg"}], "ignore_regions": [], "annorect": []},
            {
                "image": [{"name": "clip/0.jpg"}],
                "ignore_regions": [{"point": [{"x": [0], "y": [1]}, {"x": [2], "y": [3.5]}]}],
                "annorect": [
                    {
                        "annopoints": [{"point": points}],
                        "track_id": [7],
                        **{"x1": [1], "y1": [2], "x2": [3], "y2": [4.5]},
                    }
                ],
            },
        ]
    }


@pytest.mark.parametrize("name", POSETRACK)
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_a_whole_pose_of_any_skeleton(skeleton: Skeleton, name: str, tmp_path: Path) -> None:
    keypoints = np.arange(2.0 * len(skeleton)).reshape(1, -1, 2)
    POSETRACK[name].write([PoseSequence("a", [Frame("a.jpg", skeleton, keypoints)])], tmp_path / "a.json")
    (frame,) = read(POSETRACK[name], tmp_path / "a.json").frames
    expected = skeleton.convert(keypoints, POSETRACK15)
    np.testing.assert_array_equal(frame.in_skeleton(POSETRACK15).keypoints, expected)
    assert np.isfinite(frame.keypoints[..., 0]).sum() == np.isfinite(expected[..., 0]).sum()
