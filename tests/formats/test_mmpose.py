"""MMPose's predictions of images and videos."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import changed, put_something_wild, read, rewritten, written
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpr.errors import UserError
from hpr.formats.mmpose import MMPose
from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, MPII16, POSETRACK15, Skeleton

OWN = GOLDEN / "formats" / "mmpose"
FILES = ["clip.json", "results_clip.json", "results_a_640x480.json", "predictions/a_640x480.json"]
NOSE = COCO17.index("nose")


def person(count: int = 17, **fields: Any) -> dict[str, Any]:
    keypoints = [[10.5, 20.0] for _ in range(count)]
    box = [[1.0, 2.0, 30.5, 40.0]]
    default = {"keypoints": keypoints, "keypoint_scores": [0.75] * count, "bbox": box, "bbox_score": 0.5, "odd": [1]}
    return {**default, **fields}


def video(*instances: list[Any], first: int = 0) -> list[dict[str, Any]]:
    return [{"frame_id": first + i, "instances": people, "odd": i} for i, people in enumerate(instances)]


def demo(entries: list[Any], names: list[Any] | None = None) -> dict[str, Any]:
    """What the demo scripts write."""
    named = {} if names is None else {"keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    return {"meta_info": {"dataset_name": "some", **named}, "instance_info": entries, "odd": 1}


def frame_of(path: Path, *people: Any) -> Frame:
    (frame,) = read(MMPose(), written(path / "a.json", list(people))).frames
    return frame


class TestGolden:
    def test_images(self) -> None:
        sequence = read(MMPose(), OWN / "predictions")
        first, second = sequence.frames
        assert [(frame.image, frame.number, len(frame)) for frame in (first, second)] == [
            ("a_640x480", None, 2),
            ("b_333x501", None, 0),
        ]
        assert first.skeleton is COCO17
        assert first.keypoints[0, NOSE].tolist() == [320, 114]
        assert first.keypoints[0, COCO17.index("right_ankle")].tolist() == [296, 381]
        assert np.flatnonzero(first.flags[0] == 0).tolist() == COCO17.indices("left_ear", "left_ankle")
        assert first.scores[0, NOSE] == 0.9
        assert first.boxes[0].tolist() == [270.25, 90.5, 372, 391]
        assert first.person_scores.tolist() == [0.91, 0.5]

    def test_a_video(self) -> None:
        sequence = read(MMPose(), OWN / "clip.json")
        assert sequence.name == "clip"
        assert [(frame.image, frame.number, len(frame)) for frame in sequence.frames] == [
            ("clip_000000000000", 0, 1),
            ("clip_000000000001", 1, 0),
            ("clip_000000000002", 2, 1),
        ]
        assert all(frame.skeleton is HALPE26 for frame in sequence.frames)
        assert sequence.frames[0].keypoints[0, HALPE26.index("pelvis")].tolist() == [320, 240]

    def test_a_video_of_the_demo(self) -> None:
        frames = read(MMPose(), OWN / "results_clip.json").frames
        assert [(frame.image, frame.number, len(frame)) for frame in frames] == [
            ("clip_000000000000", 0, 1),
            ("clip_000000000001", 1, 0),
        ]

    def test_an_image_of_the_demo(self) -> None:
        frames = read(MMPose(), OWN / "results_a_640x480.json").frames
        assert [(frame.image, frame.number, len(frame)) for frame in frames] == [("a_640x480", None, 1)]

    @pytest.mark.parametrize("name", FILES)
    def test_unchanged(self, name: str, tmp_path: Path) -> None:
        original = json.loads((OWN / name).read_text())
        assert rewritten(MMPose(), read(MMPose(), OWN / name), tmp_path / "a.json") == original

    def test_an_unchanged_folder(self, tmp_path: Path) -> None:
        MMPose().write(MMPose().read(OWN / "predictions"), tmp_path / "out")
        for path in (OWN / "predictions").iterdir():
            assert json.loads((tmp_path / "out" / path.name).read_text()) == json.loads(path.read_text())
        assert len(list((tmp_path / "out").iterdir())) == 2


class TestSources:
    def test_a_folder_of_images_is_one(self) -> None:
        assert MMPose().sources(OWN / "predictions") == [OWN / "predictions"]

    def test_each_video_is_one(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            written(tmp_path / f"{name}.json", video([person()]))
        assert MMPose().sources(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]
        assert MMPose().sources(tmp_path / "a.json") == [tmp_path / "a.json"]

    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expected \.json files in it, found none"):
            MMPose().sources(tmp_path)
        assert read(MMPose(), tmp_path).frames == []

    def test_videos_among_images(self, tmp_path: Path) -> None:
        written(tmp_path / "a.json", [person()])
        path = written(tmp_path / "b.json", video([person()]))
        with pytest.raises(UserError, match=f"^{path}: expected the people of an image, found the frames of a video"):
            MMPose().read(tmp_path)


class TestFrames:
    @pytest.mark.parametrize(
        ("document", "numbers"),
        [
            pytest.param(video([]), [0], id="from 0"),
            pytest.param(video([], [], first=5), [5, 6], id="a part of a video"),
            pytest.param(demo(video([], [], first=1)), [0, 1], id="the demo's, from 1"),
            pytest.param(demo(video([], [], first=0)), [0, 1], id="the demo's, from 0"),
        ],
    )
    def test_numbers(self, document: Any, numbers: list[int], tmp_path: Path) -> None:
        frames = read(MMPose(), written(tmp_path / "results_v.json", document)).frames
        assert [frame.number for frame in frames] == numbers
        video_name = "v" if isinstance(document, dict) else "results_v"
        assert [frame.image for frame in frames] == [f"{video_name}_{number:012d}" for number in numbers]

    @pytest.mark.parametrize("document", [[], demo([])], ids=str)
    def test_nobody_is_an_image(self, document: Any, tmp_path: Path) -> None:
        (frame,) = read(MMPose(), written(tmp_path / "a.json", document)).frames
        assert (frame.image, frame.skeleton, frame.number, len(frame)) == ("a", COCO17, None, 0)

    @pytest.mark.parametrize("skeleton", MMPose.skeletons, ids=lambda skeleton: skeleton.name)
    def test_skeletons_by_count(self, skeleton: Skeleton, tmp_path: Path) -> None:
        frames = read(MMPose(), written(tmp_path / "a.json", video([], [person(len(skeleton))]))).frames
        assert all(frame.skeleton is skeleton for frame in frames)

    @pytest.mark.parametrize(
        ("names", "skeleton"),
        [
            (COCO17.names, COCO17),
            ([*COCO17.names, "head", "neck", "hip", *HALPE26.names[20:]], HALPE26),
            ([*MPII16.names[:8], "upper_neck", *MPII16.names[9:]], MPII16),
            ([*CROWDPOSE14.names[:12], "top_head", "neck"], CROWDPOSE14),
        ],
        ids=["coco", "halpe26", "mpii", "crowdpose"],
    )
    def test_skeletons_by_name(self, names: list[str], skeleton: Skeleton, tmp_path: Path) -> None:
        people = [person(len(names))]
        frames = read(MMPose(), written(tmp_path / "a.json", demo(video(people, []), list(names)))).frames
        assert all(frame.skeleton is skeleton for frame in frames)

    def test_names_of_another_skeleton(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", demo([person()], ["root", *COCO17.names[1:]]))
        expected = "meta_info.keypoint_id2name: expected the keypoints of coco17, halpe26, mpii16, crowdpose14"
        with pytest.raises(UserError, match=f"{expected}, found those of 'some'"):
            MMPose().read(path)


class TestPeople:
    @pytest.mark.parametrize(
        ("point", "score", "place"),
        [
            pytest.param([0, 0], 0, (np.nan, np.nan), id="missing"),
            pytest.param([0, 0], 0.5, (0, 0), id="in the corner"),
            pytest.param([3.5, -4], 0, (3.5, -4), id="outside"),
            pytest.param([None, 4], 0.5, (np.inf, np.inf), id="null"),
            pytest.param([3, float("nan")], 0.5, (np.inf, np.inf), id="NaN"),
        ],
    )
    def test_a_keypoint(self, point: Any, score: float, place: Any, tmp_path: Path) -> None:
        record = person()
        record["keypoints"][0], record["keypoint_scores"][0] = point, score
        frame = frame_of(tmp_path, record)
        np.testing.assert_array_equal(frame.keypoints[0, 0], place)
        assert frame.scores[0, 0] == score
        assert frame.flags[0, 0] == (not np.isnan(place[0]))

    @pytest.mark.parametrize(
        ("fields", "box", "score"),
        [
            ({}, [1, 2, 30.5, 40], 0.5),
            ({"bbox": [1, 2, 3, 4], "bbox_score": [0.25]}, [1, 2, 3, 4], 0.25),
            ({"bbox": None, "bbox_score": None}, [np.nan] * 4, np.nan),
            ({"bbox": [], "bbox_score": 1}, [np.nan] * 4, 1),
        ],
        ids=str,
    )
    def test_boxes(self, fields: Any, box: Any, score: float, tmp_path: Path) -> None:
        frame = frame_of(tmp_path, person(**fields))
        np.testing.assert_array_equal(frame.boxes[0], box)
        np.testing.assert_array_equal(frame.person_scores, [score])

    def test_without_scores(self, tmp_path: Path) -> None:
        frame = frame_of(tmp_path, {"keypoints": [[1, 2]] * 17}, person())
        assert np.isnan(frame.scores[0]).all()
        assert frame.scores[1].tolist() == [0.75] * 17


SHAPES: dict[str, Any] = {
    "image": [person(), person()],
    "video": video([], [person(), person()]),
    "demo's image": demo([person(), person()], list(COCO17.names)),
    "demo's video": demo(video([], [person(), person()], first=1), list(COCO17.names)),
}


def people_in(document: Any) -> list[Any]:
    """Returns the list of people of the last frame of a document, to be changed."""
    entries = document["instance_info"] if isinstance(document, dict) else document
    people: list[Any] = entries[-1].get("instances", entries)
    return people


@pytest.mark.parametrize("shape", SHAPES)
class TestWriting:
    def read(self, shape: str, path: Path) -> tuple[PoseSequence, Any]:
        document = copy.deepcopy(SHAPES[shape])
        return read(MMPose(), written(path / "in.json", document)), document

    def test_a_changed_pose(self, shape: str, tmp_path: Path) -> None:
        sequence, expected = self.read(shape, tmp_path)
        frame = sequence.frames[-1].in_skeleton(HALPE26)
        keypoints, scores = frame.keypoints.copy(), frame.scores.copy()
        keypoints[1, :2] = [[1.25, 2], [np.nan, np.nan]]
        scores[1, 2] = np.nan
        last = replace(frame, keypoints=keypoints, scores=scores)
        found = rewritten(MMPose(), replace(sequence, frames=[*sequence.frames[:-1], last]), tmp_path / "out.json")
        record = people_in(expected)[1]
        record["keypoints"][:2] = [[1.25, 2], [0, 0]]
        record["keypoint_scores"][1:3] = [0, 1]
        assert found == expected

    def test_people_who_are_dropped_and_new(self, shape: str, tmp_path: Path) -> None:
        sequence, expected = self.read(shape, tmp_path)
        last = replace(sequence.frames[-1], records=np.array([NO_RECORD, 1]))
        found = rewritten(MMPose(), replace(sequence, frames=[*sequence.frames[:-1], last]), tmp_path / "out.json")
        new = people_in(expected).pop(0)
        del new["odd"]
        people_in(expected).append(new)
        assert found == expected


class TestFromScratch:
    def test_one_image(self, tmp_path: Path) -> None:
        frame = Frame("x.jpg", COCO17, np.full((1, 17, 2), 5.0))
        expected = [{"keypoints": [[5, 5]] * 17, "keypoint_scores": [1] * 17}]
        assert rewritten(MMPose(), PoseSequence("s", [frame]), tmp_path / "a.json") == expected

    def test_frames(self, tmp_path: Path) -> None:
        frames = [Frame.empty(f"{i}.jpg", POSETRACK15) for i in range(2)]
        expected = [{"frame_id": 0, "instances": []}, {"frame_id": 1, "instances": []}]
        assert rewritten(MMPose(), PoseSequence("s", frames), tmp_path / "a.json") == expected

    @pytest.mark.parametrize(
        ("numbers", "ids"), [([4], [4]), ([4, 7], [4, 7]), ([4, 4], [0, 1]), ([None, 4], [0, 1])], ids=str
    )
    def test_numbers(self, numbers: list[int | None], ids: list[int], tmp_path: Path) -> None:
        frames = [replace(Frame.empty("a", COCO17), number=number) for number in numbers]
        found = rewritten(MMPose(), PoseSequence("s", frames), tmp_path / "a.json")
        assert [entry["frame_id"] for entry in found] == ids


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, False),
        ([], False),
        ([3], False),
        ({}, False),
        ({"instance_info": []}, True),
        ([person()], True),
        (video([]), True),
        ([{"image_id": 1, "keypoints": [1, 2, 3], "score": 1}], False),
        ([{"box": {}, "keypoints": {"x": [], "y": []}}], False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_recognises(content: Any, expected: bool, tmp_path: Path) -> None:
    assert MMPose.recognises(tmp_path / "a.json", content) == expected


def test_recognises_a_folder_whose_first_image_shows_nobody() -> None:
    assert MMPose.recognises(OWN / "predictions" / "b_333x501.json", [])


BROKEN: list[tuple[Any, str]] = [
    (3, "a.json: expected a list, found 3"),
    ({}, "a.json: expected the field 'instance_info', found no field at all"),
    ({"instance_info": 3}, "a.json.instance_info: expected a list, found 3"),
    ([3], "a.json: [0]: expected an object, found 3"),
    (demo([3]), "a.json: instance_info[0]: expected an object, found 3"),
    ([{}], "a.json: [0]: expected the field 'keypoints', found no field at all"),
    (
        [person(133)],
        "[0].keypoints: expected a number of keypoints of 17 (coco17), 26 (halpe26), 16 (mpii16), 14",
    ),
    ([person(), person(16)], "a.json: [1].keypoints: expected 17 keypoints, found a list of 16"),
    ([person(keypoints=[[1, 2]] * 16 + [[1]])], "a.json: [0].keypoints[16]: expected 2 numbers, found a list of 1"),
    ([person(keypoints=[[1, 2]] * 16 + [3])], "a.json: [0].keypoints[16]: expected a list, found 3"),
    ([person(keypoints=[["x", 2]] * 17)], "a.json: [0].keypoints[0]: expected 2 numbers, found 'x'"),
    ([person(keypoint_scores=[1])], "a.json: [0].keypoint_scores: expected 17 numbers, found a list of 1"),
    ([person(bbox_score="x")], "a.json: [0].bbox_score: expected a number, found 'x'"),
    ([*video([]), 3], "a.json: [1]: expected an object, found 3"),
    ([*video([]), {"frame_id": 1}], "a.json: [1]: expected the field 'instances', found frame_id"),
    ([{"instances": []}], "a.json: [0].frame_id: expected a whole number from 0, found None"),
    (video([], first=-1), "a.json: [0].frame_id: expected a whole number from 0, found -1"),
    (video([], [{}]), "a.json: [1].instances[0]: expected the field 'keypoints', found no field at all"),
    (demo(video([3])), "a.json: instance_info[0].instances[0]: expected an object, found 3"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_broken_files(content: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", content)
    with pytest.raises(UserError) as error:
        MMPose().read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


NUMBERS = st.floats(-1e4, 1e4).map(lambda value: round(value, 3)).filter(bool)


@st.composite
def sequences(draw: st.DrawFn) -> PoseSequence:
    frames = []
    for number in sorted(draw(st.sets(st.integers(0, 10**6), min_size=1, max_size=3))):
        skeleton = draw(st.sampled_from([COCO17, HALPE26, POSETRACK15]))
        people, count = draw(st.integers(0, 3)), len(skeleton)

        def drawn(*shape: int, elements: Any = NUMBERS, people: int = people) -> FloatArray:
            return draw(arrays(np.float64, (people, *shape), elements=elements))

        keypoints, boxes, person_scores = drawn(count, 2), drawn(4), drawn(elements=st.floats(0, 1))
        keypoints[draw(arrays(np.bool_, keypoints.shape[:2]))] = np.nan
        boxes[draw(arrays(np.bool_, people))] = np.nan
        person_scores[draw(arrays(np.bool_, people))] = np.nan
        scores = drawn(count, elements=st.floats(0, 2) | st.just(np.nan))
        frames.append(Frame("a", skeleton, keypoints, scores, boxes=boxes, person_scores=person_scores, number=number))
    return PoseSequence("s", frames)


@settings(deadline=None, max_examples=60)
@given(sequence=sequences())
def test_from_scratch_and_back(sequence: PoseSequence, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("scratch")
    document = rewritten(MMPose(), sequence, path / "a.json")
    found = read(MMPose(), path / "a.json")
    for frame, before in zip(found.frames, sequence.frames, strict=True):
        expected = before.in_skeleton(COCO17)
        there = ~np.isnan(expected.keypoints[..., 0])
        np.testing.assert_array_equal(frame.keypoints, expected.keypoints)
        np.testing.assert_array_equal(frame.scores, np.where(there, np.nan_to_num(expected.scores, nan=1.0), 0.0))
        np.testing.assert_array_equal(frame.boxes, expected.boxes)
        np.testing.assert_array_equal(frame.person_scores, expected.person_scores)
        assert frame.number == before.number
    assert rewritten(MMPose(), found, path / "b.json") == document


@pytest.mark.parametrize("shape", SHAPES)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_wild_files_are_read_or_refused(
    shape: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = copy.deepcopy(SHAPES[shape])
    put_something_wild(content, data)
    path = tmp_path_factory.mktemp("wild")
    MMPose.recognises(path / "a.json", content)
    written(path / "a.json", content)
    try:
        MMPose().sources(path)
        sequence = read(MMPose(), path / "a.json")
    except UserError:
        return
    MMPose().write([sequence], path / "b.json")
    assert (path / "b.json").read_text() == json.dumps(content, separators=(",", ":"))
    fives = changed(sequence, lambda frame: replace(frame, keypoints=np.ones_like(frame.keypoints) * 5))
    MMPose().write([fives], path / "c.json")
    assert all(np.all(frame.keypoints == 5) for frame in read(MMPose(), path / "c.json").frames)
