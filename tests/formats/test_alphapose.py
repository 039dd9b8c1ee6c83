"""AlphaPose's results: what is read from them, and how they are written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import changed, read, rewritten, written
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats.alphapose import AlphaPose
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26, OPENPOSE18, POSETRACK18, Skeleton

FORMAT = AlphaPose()
FOLDER = GOLDEN / "formats" / "alphapose"
NOSE = COCO17.index("nose")


def person(image: Any = "a.jpg", keypoints: Any = None, **fields: Any) -> dict[str, Any]:
    """A person of a list of results, with the nose alone unless keypoints are given."""
    nose = [10.5, 20.5, 0.5, *[0] * 48]
    return {"image_id": image, "category_id": 1, "keypoints": nose if keypoints is None else keypoints, **fields}


def frames_of(document: Any, folder: Path) -> list[Frame]:
    return read(FORMAT, written(folder / "a.json", document)).frames


def frame_of(document: Any, folder: Path) -> Frame:
    (frame,) = frames_of(document, folder)
    return frame


def with_nose_at(sequence: PoseSequence, x: float, y: float) -> PoseSequence:
    """Everyone with another nose."""

    def move(frame: Frame) -> Frame:
        keypoints = frame.keypoints.copy()
        keypoints[:, frame.skeleton.index("nose")] = x, y
        return replace(frame, keypoints=keypoints)

    return changed(sequence, move)


def with_another(frame: Frame, keypoints: FloatArray) -> Frame:
    """A frame with one more person, of whom the file does not know."""
    new = Frame(frame.image, frame.skeleton, keypoints[None], np.full((1, len(keypoints)), 0.75), track_ids=(9,))
    names = ("keypoints", "scores", "flags", "boxes", "head_boxes", "posed", "records", "confidences", "person_scores")
    both: dict[str, Any] = {name: np.concatenate([getattr(frame, name), getattr(new, name)]) for name in names}
    return replace(frame, track_ids=(*frame.track_ids, *new.track_ids), **both)


@pytest.mark.parametrize("document", [[], {}], ids=str)
def test_nobody(document: Any, tmp_path: Path) -> None:
    sequence = read(FORMAT, written(tmp_path / "a.json", document))
    assert (sequence.name, sequence.frames) == ("a", [])
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == document


class TestGoldenResults:
    def test_are_read(self) -> None:
        first, second = read(FORMAT, FOLDER / "results.json").frames
        assert [frame.image for frame in (first, second)] == ["a.jpg", "b.jpg"]
        assert [frame.number for frame in (first, second)] == [None, None]
        assert first.skeleton is second.skeleton is COCO17
        np.testing.assert_array_equal(first.keypoints[0, NOSE], [100.25, 50.5])
        np.testing.assert_array_equal(first.keypoints[0, 16], [116.25, 82.5])
        assert first.scores[0, [0, 16]].tolist() == [0.9, 0.74]
        assert np.isnan(first.keypoints[1, NOSE]).all()
        assert np.isnan(first.scores[1, NOSE])
        assert np.isnan(second.keypoints[0, [3, 4, 15, 16]]).all()
        assert first.flags.sum(axis=1).tolist() == [17, 16]
        assert first.track_ids == (3, 7)
        assert second.track_ids == (4,)
        assert first.person_scores.tolist() == [2.875, 0.75]
        np.testing.assert_array_equal(first.boxes, [[90.5, 40.25, 150.5, 160.75], [np.nan] * 4])
        assert [frame.records.tolist() for frame in (first, second)] == [[0, 2], [1]]

    @pytest.mark.parametrize("name", ["results.json", "cmu.json"])
    def test_are_written_as_they_were(self, name: str, tmp_path: Path) -> None:
        original = json.loads((FOLDER / name).read_text())
        found = rewritten(FORMAT, read(FORMAT, FOLDER / name), tmp_path / "b.json")
        assert found == original
        assert list(found) == list(original)

    def test_of_the_cmu_form(self) -> None:
        """A video's frames come by their numbers, although AlphaPose wrote the twelfth first."""
        first, second = read(FORMAT, FOLDER / "cmu.json").frames
        assert [(frame.image, frame.number) for frame in (first, second)] == [("3.jpg", 3), ("12.jpg", 12)]
        assert first.skeleton is OPENPOSE18
        expected = {"nose": (70.25, 80.5), "thorax": (75.75, 91.5), "right_shoulder": (76.25, 92.5)}
        expected |= {"left_shoulder": (75.25, 90.5), "right_ear": (74.25, 88.5), "left_ear": (73.25, 86.5)}
        for name, place in expected.items():
            np.testing.assert_array_equal(first.keypoints[0, OPENPOSE18.index(name)], place, err_msg=name)
        assert first.scores[0, 1] == pytest.approx(0.845)
        assert [frame.records.tolist() for frame in (first, second)] == [[2], [0, 1]]

    def test_are_recognised(self) -> None:
        for name in ("results.json", "cmu.json"):
            assert FORMAT.recognises(FOLDER / name, json.loads((FOLDER / name).read_text()))


@pytest.mark.parametrize(
    "document",
    [
        *([], {}, None, 5, "keypoints", [[]], [{}], {"images": [], "annotations": []}),
        *([{"image_id": 785, "category_id": 1, "keypoints": [0] * 51, "score": 1}], {"version": 1.3, "people": []}),
        *([{"image": "a.jpg", "joints": [], "keypoints": []}], {"a.jpg": {"bodies": []}}),
    ],
    ids=json.dumps,
)
def test_other_documents_are_not_recognised(document: object) -> None:
    """COCO's results among them, whose image_id is a number."""
    assert not FORMAT.recognises(Path("a.json"), document)


@pytest.mark.parametrize(
    ("triple", "place", "score"),
    [
        pytest.param([0, 0, 0], (np.nan, np.nan), np.nan, id="zeros: no such keypoint"),
        pytest.param([10, 12.5, 0.3], (10, 12.5), 0.3, id="a keypoint"),
        pytest.param([10, 12.5, 0], (10, 12.5), 0, id="score 0"),
        pytest.param([0, 0, 0.1], (0, 0), 0.1, id="in the corner"),
        pytest.param([10, 12.5, 5.5], (10, 12.5), 5.5, id="a score above 1"),
        pytest.param([None, 12.5, 1], (np.inf, np.inf), 1, id="null"),
        pytest.param([float("nan"), float("inf"), 1], (np.inf, np.inf), 1, id="not finite"),
        pytest.param([10, 12.5, None], (10, 12.5), np.nan, id="score null"),
    ],
)
def test_a_keypoint(triple: list[Any], place: tuple[float, float], score: float, tmp_path: Path) -> None:
    frame = frame_of([person(keypoints=[*triple, *[1] * 48])], tmp_path)
    np.testing.assert_array_equal(frame.keypoints[0, NOSE], place)
    np.testing.assert_array_equal(frame.scores[0, NOSE], score)
    assert frame.flags[0, NOSE] == (not np.isnan(place[0]))


@pytest.mark.parametrize(
    ("count", "skeleton"), [(17, COCO17), (26, HALPE26), (68, HALPE26), (133, COCO17), (136, HALPE26)]
)
def test_the_body_comes_first(count: int, skeleton: Skeleton, tmp_path: Path) -> None:
    """Faces and hands are kept as they are, also where the body changes."""
    keypoints = [float(value) for value in range(1, 3 * count + 1)]
    document = [person(keypoints=keypoints)]
    sequence = read(FORMAT, written(tmp_path / "a.json", document))
    (frame,) = sequence.frames
    assert frame.skeleton is skeleton
    assert frame.keypoints[0, -1].tolist() == [3 * len(skeleton) - 2, 3 * len(skeleton) - 1]
    found = rewritten(FORMAT, with_nose_at(sequence, 0.5, 0.25), tmp_path / "b.json")
    assert found == [person(keypoints=[0.5, 0.25, 3, *keypoints[3:]])]


@pytest.mark.parametrize("keypoints", [{}, {"keypoints": []}, {"keypoints": None}], ids=str)
def test_a_person_without_keypoints(keypoints: dict[str, Any], tmp_path: Path) -> None:
    document = [{"image_id": "a.jpg", **keypoints}, person()]
    sequence = read(FORMAT, written(tmp_path / "a.json", document))
    (frame,) = sequence.frames
    assert frame.is_posed.tolist() == [False, True]
    assert np.isnan(frame.keypoints[0]).all()
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == document


@pytest.mark.parametrize(
    ("idx", "track_id"),
    [
        *((None, None), ([], None), ([[]], None), ([None], None), (0, 0), (3, 3), (3.0, 3), ([4], 4), ([[5.0]], 5)),
        *(([[6.0], [9.0]], 6), ("a", "a"), (float("nan"), None)),
    ],
    ids=str,
)
def test_track_ids(idx: Any, track_id: Any, tmp_path: Path) -> None:
    assert frame_of([person(idx=idx)], tmp_path).track_ids == (track_id,)
    assert frame_of([person()], tmp_path).track_ids == (None,)


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], ["x", 2, 3, 4], {}, 7, "wide"], ids=str)
def test_a_broken_box_counts_as_none(box: Any, tmp_path: Path) -> None:
    assert np.isnan(frame_of([person(box=box)], tmp_path).boxes).all()


@pytest.mark.parametrize(("score", "expected"), [(2.5, 2.5), (3, 3), (None, np.nan), ("x", np.nan), (10**400, np.nan)])
def test_person_scores(score: Any, expected: float, tmp_path: Path) -> None:
    np.testing.assert_array_equal(frame_of([person(score=score)], tmp_path).person_scores, [expected])


@pytest.mark.parametrize(
    ("images", "frames"),
    [
        pytest.param(["b.jpg", "a.jpg"], [("b.jpg", None), ("a.jpg", None)], id="names"),
        pytest.param(["10.jpg", "9.jpg", "10.jpg"], [("9.jpg", 9), ("10.jpg", 10)], id="a video"),
        pytest.param(["0.jpg"], [("0.jpg", 0)], id="its first frame"),
        pytest.param(["10.jpg", "a.jpg"], [("10.jpg", None), ("a.jpg", None)], id="not all are numbers"),
        pytest.param(["000785.jpg", "000139.jpg"], [("000785.jpg", None), ("000139.jpg", None)], id="COCO's images"),
        pytest.param(["7.jpg", "7.png"], [("7.jpg", None), ("7.png", None)], id="one number twice"),
        pytest.param(["9" * 5000], [("9" * 5000, None)], id="no number of a frame"),
    ],
)
def test_frames(images: list[str], frames: list[tuple[str, int | None]], tmp_path: Path) -> None:
    """Nothing is made up for the frames between those of a video that have people."""
    found = frames_of([person(image) for image in images], tmp_path)
    assert [(frame.image, frame.number) for frame in found] == frames
    assert sum(len(frame) for frame in found) == len(images)


class TestWriting:
    def document(self) -> list[dict[str, Any]]:
        people = [person("2.jpg", odd=[1]), person("1.jpg", score=3.5), person("2.jpg", [*[0] * 48, 1, 2, 0.25])]
        return [{**record, "pred_xyz_jts": [[1.0]]} for record in people]

    def test_a_changed_pose(self, tmp_path: Path) -> None:
        sequence = read(FORMAT, written(tmp_path / "a.json", self.document()))
        found = rewritten(FORMAT, with_nose_at(sequence, 1.25, 7), tmp_path / "b.json")
        expected = self.document()
        for record, score in zip(expected, (0.5, 0.5, 0), strict=True):
            record["keypoints"] = [1.25, 7, score, *record["keypoints"][3:]]
        assert found == expected

    def test_people_who_are_gone(self, tmp_path: Path) -> None:
        sequence = read(FORMAT, written(tmp_path / "a.json", self.document()))
        rest = changed(sequence, lambda frame: frame.select(np.arange(len(frame)) > 0))
        assert rewritten(FORMAT, rest, tmp_path / "b.json") == self.document()[2:]

    def test_somebody_new(self, tmp_path: Path) -> None:
        sequence = read(FORMAT, written(tmp_path / "a.json", self.document()))
        keypoints = np.full((17, 2), np.nan)
        keypoints[1] = 3, 4.5
        new = changed(sequence, lambda frame: with_another(frame, keypoints) if frame.number == 1 else frame)
        added = {"image_id": "1.jpg", "category_id": 1, "keypoints": [0, 0, 0, 3, 4.5, 0.75, *[0] * 45], "idx": 9}
        assert rewritten(FORMAT, new, tmp_path / "b.json") == [*self.document(), added]

    def test_somebody_new_in_the_cmu_form(self, tmp_path: Path) -> None:
        sequence = read(FORMAT, FOLDER / "cmu.json")
        new = changed(sequence, lambda frame: with_another(frame, np.ones((18, 2))) if frame.number == 3 else frame)
        expected = json.loads((FOLDER / "cmu.json").read_text())
        expected["3.jpg"]["bodies"].append({"joints": [1, 1, 0.75] * 18})
        assert rewritten(FORMAT, new, tmp_path / "b.json") == expected

    def test_nobody_left_in_the_cmu_form(self, tmp_path: Path) -> None:
        sequence = changed(read(FORMAT, FOLDER / "cmu.json"), lambda frame: frame.select(np.zeros(len(frame), bool)))
        entry = {"version": "AlphaPose v0.3", "bodies": []}
        assert rewritten(FORMAT, sequence, tmp_path / "b.json") == {"12.jpg": entry, "3.jpg": entry}
        assert len(frames_of({"12.jpg": entry, "3.jpg": entry}, tmp_path)) == 2

    def test_a_larger_skeleton(self, tmp_path: Path) -> None:
        """What refining appends to the keypoints of the file has no place in it."""
        sequence = read(FORMAT, written(tmp_path / "a.json", self.document()))
        larger = changed(sequence, lambda frame: frame.in_skeleton(COCO17.joined(POSETRACK18)))
        assert rewritten(FORMAT, larger, tmp_path / "b.json") == self.document()

    def test_from_scratch(self, tmp_path: Path) -> None:
        keypoints = np.full((2, 17, 2), np.nan)
        keypoints[:, POSETRACK18.indices("nose", "head_top")] = [[1.5, 2], [3, 4]]
        scores = np.full((2, 17), np.nan)
        scores[0, 0] = 0.25
        boxes = np.array([[10, 20, 40, 60.5], [np.nan] * 4])
        person_scores = np.array([np.nan, 1.5])
        frame = Frame(
            "x/a.jpg",
            POSETRACK18,
            keypoints,
            scores,
            boxes=boxes,
            track_ids=("b", None),
            person_scores=person_scores,
        )
        sequence = PoseSequence("a", [Frame.empty("n.jpg", POSETRACK18), frame])
        assert rewritten(FORMAT, sequence, tmp_path / "b.json") == [
            person("x/a.jpg", [1.5, 2, 0.25, *[0] * 48], box=[10, 20, 30, 40.5], idx="b"),
            person("x/a.jpg", [1.5, 2, 1, *[0] * 48], score=1.5),
        ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "expected AlphaPose's list of people, found None"),
        ({"images": []}, "expected AlphaPose's list of people, found an object"),
        ({"version": "AlphaPose v0.3", "bodies": []}, "the people of one image, without its name"),
        ([5], r"\[0\]: expected an object, found 5"),
        ([person(), {"image_id": 3}], r"\[1\].image_id: expected a text, found 3"),
        ([person(), {"keypoints": []}], r"\[1\]: expected the field 'image_id', found keypoints"),
        ([person(keypoints=[1] * 5)], r"\[0\].keypoints: expected 51 .coco17., 78 .* numbers, found 5"),
        ([person(keypoints="all")], r"\[0\].keypoints: expected a list, found 'all'"),
        (
            [person(), person(keypoints=[1] * 78)],
            r"\[1\].keypoints: expected 51 numbers as in the first record, found 78",
        ),
        ([person(), person(keypoints=["x", *[1] * 50])], r"\[1\].keypoints: expected 51 numbers, found 'x'"),
        ([person(keypoints=[10**400, *[1] * 50])], r"\[0\].keypoints: expected 51 numbers, found a list of 51"),
        ([person(keypoints=[[1, 2, 3]] * 51)], r"\[0\].keypoints: expected 51 numbers, found a list of 3"),
        ([person(idx={})], r"\[0\].idx: expected a whole number or a text, found an object"),
        (
            {"a": {"version": 1, "bodies": [{"joints": [1, 2]}]}},
            r"'a'.bodies\[0\].joints: expected 54 \(openpose18\) numbers",
        ),
        ({"a": {"version": 1, "people": []}, "b": {}}, "'b': expected the field 'people', found no field at all"),
    ],
)
def test_what_cannot_be_read_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", document)
    with pytest.raises(UserError, match=f"^{path}: {message}"):
        FORMAT.read(path)


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=100)
@given(
    changes=st.dictionaries(st.sampled_from(["image_id", "keypoints", "score", "box", "idx"]), VALUES, max_size=3),
    triple=st.lists(VALUES, max_size=3),
)
def test_wild_people_are_read_or_refused(
    changes: dict[str, Any], triple: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("wild")
    document = [person(), {**person(keypoints=[*triple, *[1] * 48]), **changes}]
    try:
        sequence = read(FORMAT, written(folder / "a.json", document))
    except UserError:
        return
    found = rewritten(FORMAT, sequence, folder / "b.json")
    assert json.dumps(found) == json.dumps(json.loads((folder / "a.json").read_text()))


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_written_and_read_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("same")
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = []
    for image in data.draw(st.lists(st.text("ab7.é", min_size=1, max_size=3), unique=True, max_size=3)):
        people = data.draw(st.integers(1, 3))
        keypoints = random.normal(0, 300, (people, 17, 2))
        keypoints[random.random((people, 17)) < 0.2] = np.nan
        scores = np.where(np.isnan(keypoints[..., 0]), np.nan, random.random((people, 17)))
        ids = tuple(data.draw(st.none() | st.integers() | st.text(max_size=2)) for _ in range(people))
        frames.append(Frame(image, COCO17, keypoints, scores, track_ids=ids, person_scores=random.random(people)))
    FORMAT.write([PoseSequence("a", frames)], folder / "a.json")
    found = {frame.image: frame for frame in read(FORMAT, folder / "a.json").frames}
    assert found.keys() == {frame.image for frame in frames}
    for frame in frames:
        for name in ("keypoints", "scores", "flags", "person_scores"):
            np.testing.assert_array_equal(getattr(found[frame.image], name), getattr(frame, name), err_msg=name)
        assert found[frame.image].track_ids == frame.track_ids
