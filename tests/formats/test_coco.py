"""COCO's and CrowdPose's annotations and results, and PoseTrack21's files, which have the same form."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import GOLDEN, ROOT
from documents import changed, document18, put_something_wild, read, rewritten, written
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpr.errors import UserError
from hpr.formats import Format, PoseTrack18
from hpr.formats.coco import Coco, CrowdPose, ranking_scores, skeleton_of
from hpr.formats.posetrack18 import PoseTrack21
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, POSETRACK15, POSETRACK18, SKELETONS, Skeleton

FORMATS: dict[str, Format] = {own.name: own for own in (PoseTrack18(), PoseTrack21(), Coco(), CrowdPose())}
FILES = GOLDEN / "formats"
COCO_ANNOTATIONS, COCO_RESULTS = FILES / "coco" / "annotations.json", FILES / "coco" / "results.json"
CROWDPOSE_ANNOTATIONS, CROWDPOSE_RESULTS = (FILES / "crowdpose" / f"{name}.json" for name in ("annotations", "results"))
POSETRACK21 = FILES / "posetrack21" / "000001_bonn_train.json"
REAL = Path("/work/shared/real")
OWN: dict[Path, str] = {
    COCO_ANNOTATIONS: "coco",
    COCO_RESULTS: "coco",
    FILES / "coco" / "results_flags.json": "coco",
    CROWDPOSE_ANNOTATIONS: "crowdpose",
    CROWDPOSE_RESULTS: "crowdpose",
    POSETRACK21: "posetrack21",
    GOLDEN / "posetrack18" / "predictions" / "seq_a.json": "posetrack18",
    GOLDEN / "posetrack18" / "predictions" / "seq_b.json": "posetrack18",
}
NOSE, LEFT_EYE, RIGHT_ANKLE = COCO17.indices("nose", "left_eye", "right_ankle")
KEYPOINTS = [11.5, 12.5, 2, *[0] * 45, 21.5, 22.5, 1]


def annotations(**annotation: Any) -> dict[str, Any]:
    """COCO annotations of one image and one person."""
    default = {"id": 5, "image_id": 7, "category_id": 1, "iscrowd": 0, "keypoints": KEYPOINTS, "num_keypoints": 2}
    return {
        "images": [{"id": 7, "file_name": "val/7.jpg", "width": 640, "height": 480}],
        "annotations": [{**default, "bbox": [1, 2, 3, 4], "area": 9.5, **annotation}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.names)}],
    }


def result(**fields: Any) -> dict[str, Any]:
    """A result of one person."""
    return {"image_id": 7, "category_id": 1, "keypoints": KEYPOINTS, "score": 0.5, **fields}


def recognised(document: object, path: Path = Path("a.json")) -> list[str]:
    """Returns the names of the formats that a document looks like."""
    return [name for name, own in FORMATS.items() if own.recognises(path, document)]


def with_keypoint(frame: Frame, keypoint: int, place: tuple[float, float]) -> Frame:
    """Returns a frame whose people all have a keypoint in a place."""
    keypoints, flags = frame.keypoints.copy(), frame.flags.copy()
    keypoints[:, keypoint], flags[:, keypoint] = place, 1
    return replace(frame, keypoints=keypoints, flags=flags)


def own_format(path: Path, beside: bool = False) -> Format:
    return type(FORMATS[OWN[path]])(str(path.with_name("annotations.json"))) if beside else FORMATS[OWN[path]]  # type: ignore[call-arg]


class TestRecognised:
    @pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}-{path.stem}")
    def test_golden_files(self, path: Path) -> None:
        assert recognised(json.loads(path.read_text())) == [OWN[path]]

    @pytest.mark.parametrize(
        ("document", "names"),
        [
            pytest.param([], [], id="no results"),
            pytest.param({"images": [], "annotations": []}, ["posetrack18"], id="nothing"),
            pytest.param(document18(), ["posetrack18"], id="posetrack18"),
            pytest.param(annotations(), ["coco"], id="coco"),
            pytest.param({**annotations(), "categories": []}, ["coco"], id="coco without categories"),
            pytest.param({**annotations(track_id=1), "categories": []}, ["posetrack18"], id="tracks"),
            pytest.param({**annotations(scores=[]), "categories": []}, ["posetrack18"], id="scores"),
            pytest.param({**annotations(person_id=1), "categories": []}, ["posetrack21"], id="person_id"),
            pytest.param({**annotations(keypoints=[0] * 42), "categories": []}, ["crowdpose"], id="42 numbers"),
            pytest.param({**annotations(keypoints=[0] * 45), "categories": []}, ["posetrack18"], id="45 numbers"),
            pytest.param({"images": [{"crowdIndex": 0}], "annotations": []}, ["crowdpose"], id="crowdIndex"),
            pytest.param(
                {"images": [{"has_labeled_person": True}], "annotations": []}, ["posetrack21"], id="has_labeled_person"
            ),
            pytest.param({"images": [{"vid_id": "1"}], "annotations": [5]}, ["posetrack18"], id="vid_id"),
            pytest.param({"images": 5, "annotations": None, "categories": [5]}, ["posetrack18"], id="no lists"),
            pytest.param([result()], ["coco"], id="result"),
            pytest.param([result(image_id="000123")], ["coco"], id="number as text"),
            pytest.param([result(image_id=7.0)], ["coco"], id="number with a fraction"),
            pytest.param([result(keypoints=[0] * 42)], ["crowdpose"], id="result of 42 numbers"),
            pytest.param([result(image_id="1.jpg")], [], id="alphapose"),
            pytest.param([result(image_id=True)], [], id="no number"),
            pytest.param([result(keypoints=[0] * 78)], [], id="halpe"),
            pytest.param([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 17}], [], id="mmpose"),
            pytest.param([result(keypoints=[[0]] * 51)], [], id="nested"),
            pytest.param([5], [], id="numbers"),
        ],
    )
    def test_documents(self, document: object, names: list[str]) -> None:
        assert recognised(document) == names

    @pytest.mark.parametrize("name", FORMATS)
    def test_what_the_writers_write(self, name: str, tmp_path: Path) -> None:
        for number, frames in enumerate(([], [Frame.empty("a.jpg", COCO17)])):
            document = rewritten(FORMATS[name], PoseSequence("a", frames), tmp_path / f"{number}.json")
            unmarked = name == "posetrack21" and not frames
            assert recognised(document) == ["posetrack18" if unmarked else name]

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
    def test_real_files(self) -> None:
        assert recognised(json.loads((REAL / "coco" / "person_keypoints.json").read_text())) == ["coco"]
        assert recognised(json.loads((REAL / "crowdpose" / "crowdpose.json").read_text())) == ["crowdpose"]
        (path,) = (REAL / "posetrack18" / "annotations").iterdir()
        assert recognised(json.loads(path.read_text())) == ["posetrack18"]


class TestAnnotations:
    def test_nothing(self, tmp_path: Path) -> None:
        sequence = read(Coco(), written(tmp_path / "a.json", {"images": [], "annotations": []}))
        assert (sequence.name, sequence.frames) == ("a", [])

    def test_everyone_in_their_images(self) -> None:
        first, second, third = read(Coco(), COCO_ANNOTATIONS).frames
        assert [first.image, second.image, third.image] == [f"{number:012d}.jpg" for number in (139, 285, 632)]
        assert [first.size, second.size] == [(640, 426), (586, 640)]
        assert [len(first), len(second), len(third)] == [2, 0, 2]  # without the crowd and the bicycle
        assert [frame.records.tolist() for frame in (first, second, third)] == [[0, 2], [], [1, 5]]
        assert first.keypoints[0, NOSE].tolist() == [210, 60]
        assert np.isnan(first.keypoints[0, RIGHT_ANKLE]).all()
        assert np.isnan(first.keypoints[1]).all()
        assert first.is_posed.tolist() == [True, False]
        assert first.flags[0, :5].tolist() == [2, 2, 2, 0, 1]
        assert first.boxes[0].tolist() == [164.5, 40.25, 254.5, 302.75]
        assert np.isnan(first.scores).all()
        assert np.isnan(first.person_scores).all()

    def test_crowdpose(self) -> None:
        frames = read(CrowdPose(), CROWDPOSE_ANNOTATIONS).frames
        assert [len(frame) for frame in frames] == [1, 2, 2]
        assert frames[0].keypoints[0, CROWDPOSE14.indices("head_top", "head_bottom")].tolist() == [[208, 40], [208, 84]]

    def test_own_order_of_keypoints(self, tmp_path: Path) -> None:
        """Also with others among them, which stay when a pose is changed."""
        document = annotations(keypoints=[9, 8, 2, 1.5, 2.5, 1, *[0] * 45, 3, 4, 2])
        document["categories"][0]["keypoints"] = ["tail", *reversed(COCO17.names)]
        sequence = read(Coco(), written(tmp_path / "a.json", document))
        (frame,) = sequence.frames
        assert frame.keypoints[0, [RIGHT_ANKLE, NOSE]].tolist() == [[1.5, 2.5], [3, 4]]
        assert np.isnan(frame.keypoints).all(axis=-1).sum() == 15
        moved = changed(sequence, lambda frame: with_keypoint(frame, LEFT_EYE, (5.5, 6)))
        found = rewritten(Coco(), moved, tmp_path / "b.json")["annotations"][0]
        assert found["keypoints"] == [9, 8, 2, 1.5, 2.5, 1, *[0] * 42, 5.5, 6, 1, 3, 4, 2]
        assert found["num_keypoints"] == 4

    @pytest.mark.parametrize("order", [1, -1])
    def test_people_of_another_category(self, order: int, tmp_path: Path) -> None:
        document = annotations(category_id=2, keypoints=[1, 2, 2])
        document["categories"] = [*document["categories"], {"id": 2, "name": "dog", "keypoints": ["tail"]}][::order]
        sequence = read(Coco(), written(tmp_path / "a.json", document))
        assert sequence.people == 0
        assert rewritten(Coco(), sequence, tmp_path / "b.json") == document

    def test_scores_in_the_place_of_flags(self, tmp_path: Path) -> None:
        """One number that is no flag makes them scores in the whole file."""
        document = annotations(keypoints=[1, 2, 0.25, 3, 4, 1, 5, 6, -0.5, *[0] * 42], score=0.75)
        (frame,) = read(Coco(), written(tmp_path / "a.json", document)).frames
        np.testing.assert_array_equal(frame.scores[0, :4], [0.25, 1, -0.5, np.nan])
        assert frame.flags[0, :4].tolist() == [1, 1, 0, 0]
        assert frame.person_scores.tolist() == [0.75]

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
    @pytest.mark.parametrize(("name", "people"), [("coco/person_keypoints", 6), ("crowdpose/crowdpose", 2)])
    def test_real_files(self, name: str, people: int, tmp_path: Path) -> None:
        path = REAL / f"{name}.json"
        own = FORMATS[name.split("/", maxsplit=1)[0]]
        sequence = read(own, path)
        assert sequence.people == people
        assert rewritten(own, sequence, tmp_path / "a.json") == json.loads(path.read_text())


class TestIgnoreRegions:
    """Crowds and people without a keypoint."""

    POSED: ClassVar = {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [1, 2, 2, *[0] * 48]}
    UNPOSED: ClassVar = {"id": 2, "image_id": 7, "category_id": 1, "keypoints": [0] * 51, "bbox": [10, 20, 30, 40]}
    BOX: ClassVar = [[10, 20], [40, 20], [40, 60], [10, 60]]

    def regions(self, path: Path, *records: dict[str, Any]) -> tuple[Any, ...]:
        document = annotations() | {"annotations": list(records)}
        (sequence,) = Coco().read_annotated(written(path, document))
        return sequence.frames[0].ignore_regions

    def test_nobody(self, tmp_path: Path) -> None:
        assert self.regions(tmp_path / "a.json") == ()
        assert [own.tolist() for own in self.regions(tmp_path / "a.json", self.UNPOSED)] == [self.BOX]
        assert self.regions(tmp_path / "a.json", self.POSED) == ()

    def test_a_polygon(self, tmp_path: Path) -> None:
        triangle = [[1.0, 2.0], [5.0, 2.0], [3.0, 9.5]]
        segmentation = [[value for point in triangle for value in point]] * 2
        found = self.regions(tmp_path / "a.json", self.POSED, {**self.UNPOSED, "segmentation": segmentation})
        assert [region.tolist() for region in found] == [triangle, triangle]

    def test_a_crowds_mask(self, tmp_path: Path) -> None:
        """Runs go down the columns: here columns 2 to 11, rows 1 to 8 of 14 × 12 pixels."""
        runs = {"size": [12, 14], "counts": [25, *[8, 4] * 9, 8, 27]}
        (found,) = self.regions(tmp_path / "a.json", self.POSED, {**self.UNPOSED, "iscrowd": 1, "segmentation": runs})
        assert (found.min(axis=0).tolist(), found.max(axis=0).tolist()) == ([2, 1], [11, 8])

    @pytest.mark.parametrize(
        "segmentation",
        [
            *(None, 5, "text", [], [[]], [[1, 2, 3, 4]], [[1, 2, 3]], [["a"] * 6], [[1e400] * 6], {}),
            *({"size": [5, 6], "counts": "abc"}, {"size": [5, 6], "counts": [-1, 31]}, {"size": 5, "counts": [5]}),
            *({"size": [10**6, 10**6], "counts": [10**12]}, {"size": [5, 6], "counts": [10**30]}),
            *({"size": [5, 6], "counts": [1]}, {"size": ["a", 2], "counts": [1]}),
        ],
    )
    def test_the_box_where_a_segmentation_is_odd(self, segmentation: object, tmp_path: Path) -> None:
        found = self.regions(tmp_path / "a.json", self.POSED, {**self.UNPOSED, "segmentation": segmentation})
        assert [region.tolist() for region in found] == [self.BOX]

    def test_neither(self, tmp_path: Path) -> None:
        assert self.regions(tmp_path / "a.json", self.POSED, {**self.UNPOSED, "bbox": [1, 2]}) == ()


class TestResults:
    def test_nothing(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", [])
        assert read(Coco(), path).frames == []
        frames = read(Coco(str(COCO_ANNOTATIONS)), path).frames
        assert [(len(frame), frame.size) for frame in frames] == [(0, (640, 426)), (0, (586, 640)), (0, (640, 483))]

    def test_with_annotations_every_image_is_a_frame(self) -> None:
        frames = read(Coco(str(COCO_ANNOTATIONS)), COCO_RESULTS).frames
        assert [frame.image for frame in frames] == [f"{number:012d}.jpg" for number in (139, 285, 632)]
        assert [frame.records.tolist() for frame in frames] == [[1, 2], [], [0, 3]]
        assert frames[2].person_scores.tolist() == [0.875, 0.625]
        assert frames[2].scores[0, :3].tolist() == [0.9, 0.04, 0.04]
        assert np.isnan(frames[2].keypoints[1, NOSE]).all()
        assert np.isnan(frames[2].scores[1, NOSE])
        assert np.isnan(frames[0].boxes).all()

    def test_without_annotations_images_are_named_as_in_coco_2017(self) -> None:
        frames = read(Coco(), COCO_RESULTS).frames
        assert [(frame.image, len(frame)) for frame in frames] == [("000000000632.jpg", 2), ("000000000139.jpg", 2)]
        assert [frame.size for frame in frames] == [None, None]
        assert next(frame.image for frame in read(CrowdPose(), CROWDPOSE_RESULTS).frames) == "100004.jpg"

    @pytest.mark.parametrize("image_id", [139, "139", "000000000139", 139.0], ids=str)
    def test_ids_that_are_no_whole_numbers(self, image_id: object, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", [result(image_id=image_id)])
        for own in (Coco(), Coco(str(COCO_ANNOTATIONS))):
            assert [frame.image for frame in read(own, path).frames if len(frame)] == ["000000000139.jpg"]

    def test_flags(self) -> None:
        sequence = read(Coco(), FILES / "coco" / "results_flags.json")
        first, second = sequence.frames
        assert np.isnan(first.scores).all()
        assert (first.flags == 1).all()
        assert second.flags[0, 3] == 0
        assert first.boxes.tolist() == [[160, 40, 260, 300]]

    def test_of_any_category(self, tmp_path: Path) -> None:
        """Some programs count categories from 0, or write none."""
        entries = [result(image_id=139, category_id=0), {"image_id": 139, "keypoints": KEYPOINTS}]
        path = written(tmp_path / "a.json", entries)
        (frame, *_) = read(Coco(str(COCO_ANNOTATIONS)), path).frames
        assert len(frame) == 2

    def test_order_of_the_annotations(self, tmp_path: Path) -> None:
        document = annotations()
        document["categories"][0].update(id=4, keypoints=list(reversed(COCO17.names)))
        beside = written(tmp_path / "gt.json", document)
        entry = result(category_id=4, keypoints=[1.5, 2.5, 1, *[0] * 48])
        (frame,) = read(Coco(str(beside)), written(tmp_path / "a.json", [entry])).frames
        assert frame.keypoints[0, RIGHT_ANKLE].tolist() == [1.5, 2.5]
        bare = PoseSequence("a", [replace(frame, person_scores=np.array([0.5]))])
        assert rewritten(Coco(str(beside)), bare, tmp_path / "b.json") == [entry]


class TestWritten:
    @pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}-{path.stem}")
    def test_unchanged(self, path: Path, tmp_path: Path) -> None:
        document = json.loads(path.read_text())
        assert rewritten(own_format(path), read(own_format(path), path), tmp_path / "a.json") == document

    @pytest.mark.parametrize("path", [COCO_RESULTS, CROWDPOSE_RESULTS], ids=lambda path: str(path.parent.name))
    def test_unchanged_with_annotations(self, path: Path, tmp_path: Path) -> None:
        own = own_format(path, beside=True)
        assert rewritten(own, read(own, path), tmp_path / "a.json") == json.loads(path.read_text())

    def test_a_changed_pose_of_annotations(self, tmp_path: Path) -> None:
        document = json.loads(COCO_ANNOTATIONS.read_text())
        sequence = read(Coco(), COCO_ANNOTATIONS)
        sequence.frames[2] = with_keypoint(sequence.frames[2].select(np.array([0])), LEFT_EYE, (405.5, 112))
        document["annotations"][1]["keypoints"][3:6] = [405.5, 112, 1]
        document["annotations"][1]["num_keypoints"] = 14  # area and box stay, and so does everyone who is in no frame
        del document["annotations"][5]
        found = rewritten(Coco(), sequence, tmp_path / "a.json")
        assert found == document
        assert '"keypoints":[402,118,2,405.5,112,1,0,0,0,' in (tmp_path / "a.json").read_text()

    def test_a_changed_pose_of_results_with_scores(self, tmp_path: Path) -> None:
        document = json.loads(COCO_RESULTS.read_text())
        sequence = read(Coco(), COCO_RESULTS)
        frame = with_keypoint(sequence.frames[0], NOSE, (1.25, 2.5))
        keypoints, flags = frame.keypoints.copy(), frame.flags.copy()
        keypoints[:, LEFT_EYE], flags[:, LEFT_EYE] = np.nan, 0
        sequence.frames[0] = replace(frame, keypoints=keypoints, flags=flags)
        document[0]["keypoints"][:6] = [1.25, 2.5, 0.9, 0, 0, 0]
        document[3]["keypoints"][:6] = [1.25, 2.5, 1, 0, 0, 0]  # the nose had no score
        assert rewritten(Coco(), sequence, tmp_path / "a.json") == document

    def test_a_changed_pose_of_results_with_flags(self, tmp_path: Path) -> None:
        path = FILES / "coco" / "results_flags.json"
        document = json.loads(path.read_text())
        sequence = changed(read(Coco(), path), lambda frame: with_keypoint(frame, RIGHT_ANKLE, (1.25, 2.5)))
        for entry in document:
            entry["keypoints"][48:] = [1.25, 2.5, 1]
        assert rewritten(Coco(), sequence, tmp_path / "a.json") == document

    def test_keypoints_that_the_network_added(self, tmp_path: Path) -> None:
        sequence = read(Coco(), COCO_RESULTS)
        larger = changed(sequence, lambda frame: frame.in_skeleton(HALPE26))
        assert rewritten(Coco(), larger, tmp_path / "a.json") == json.loads(COCO_RESULTS.read_text())
        place = HALPE26.index("head_top")
        added = changed(larger, lambda frame: with_keypoint(frame, place, (1, 2)))
        assert rewritten(Coco(), added, tmp_path / "a.json") == json.loads(COCO_RESULTS.read_text())

    @pytest.mark.parametrize(
        "path", [path for path in OWN if "pose" not in path.parent.name], ids=lambda path: path.stem
    )
    @settings(deadline=None, max_examples=20)
    @given(data=st.data())
    def test_whoever_is_dropped_is_gone_and_nothing_else(
        self, path: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        document = json.loads(path.read_text())
        sequence = read(Coco(), path)
        masks = [data.draw(arrays(np.bool_, len(frame))) for frame in sequence.frames]
        pairs = list(zip(sequence.frames, masks, strict=True))
        gone = {row for frame, mask in pairs for row in frame.records[~mask].tolist()}
        records = document if isinstance(document, list) else document["annotations"]
        kept = [record for row, record in enumerate(records) if row not in gone]
        expected = kept if isinstance(document, list) else {**document, "annotations": kept}
        fewer = replace(sequence, frames=[frame.select(mask) for frame, mask in pairs])
        assert rewritten(Coco(), fewer, tmp_path_factory.mktemp("fewer") / "a.json") == expected

    @pytest.mark.parametrize("path", [COCO_ANNOTATIONS, COCO_RESULTS], ids=lambda path: path.stem)
    def test_somebody_new(self, path: Path, tmp_path: Path) -> None:
        own = Coco(str(COCO_ANNOTATIONS))
        sequence = read(own, path)
        keypoints = np.full((1, 17, 2), np.nan)
        keypoints[0, NOSE] = 1.5, 2
        scores = np.where(np.isnan(keypoints[..., 0]), np.nan, 0.25)
        boxes = np.array([[1.0, 2, 4, 6]])
        sequence.frames[1] = Frame("b.jpg", COCO17, keypoints, scores, boxes=boxes)
        found = rewritten(own, sequence, tmp_path / "a.json")
        new = {"image_id": 285, "category_id": 1, "bbox": [1, 2, 3, 4]}
        document = json.loads(path.read_text())
        if path == COCO_RESULTS:
            assert found == [*document, {**new, "keypoints": [1.5, 2, 0.25, *[0] * 48], "score": 0.25}]
        else:
            new |= {"keypoints": [1.5, 2, 1, *[0] * 48], "num_keypoints": 1, "area": 12, "iscrowd": 0}
            assert found["annotations"] == [*document["annotations"], {**new, "id": 900100000140}]

    @pytest.mark.parametrize("name", ["coco", "crowdpose"])
    def test_the_other_format_starts_from_scratch(self, name: str, tmp_path: Path) -> None:
        sequence = read(CrowdPose(), CROWDPOSE_ANNOTATIONS)
        document = rewritten(FORMATS[name], sequence, tmp_path / "a.json")
        assert recognised(document) == [name]
        for before, after in zip(sequence.frames, read(FORMATS[name], tmp_path / "a.json").frames, strict=True):
            own = FORMATS[name].skeletons[0]
            np.testing.assert_array_equal(after.keypoints, before.in_skeleton(own).keypoints)


COORDINATES = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
SCORES = st.floats(0.01, 0.99)


@st.composite
def frames(draw: st.DrawFn, skeleton: Skeleton, name: str) -> Frame:
    """A frame of up to three people, any part of whom may be missing."""
    people, count = draw(st.integers(0, 3)), len(skeleton)

    def drawn(*shape: int, elements: Any = COORDINATES) -> FloatArray:
        return draw(arrays(np.float64, (people, *shape), elements=elements))

    def some(*shape: int) -> Any:
        return draw(arrays(np.bool_, (people, *shape)))

    keypoints, boxes, person_scores = drawn(count, 2), drawn(4), drawn(elements=SCORES)
    keypoints[some(count)] = np.nan
    keypoints[some(count) & some(count)] = np.inf
    boxes[some()], person_scores[some()] = np.nan, np.nan
    flags = drawn(count, elements=st.sampled_from([0.0, 1.0, 2.0]))
    size = draw(st.none() | st.just((640, 480)))
    return Frame(name, skeleton, keypoints, flags=flags, boxes=boxes, person_scores=person_scores, size=size)


@st.composite
def sequences(draw: st.DrawFn) -> PoseSequence:
    skeleton = draw(st.sampled_from([COCO17, CROWDPOSE14, POSETRACK15, HALPE26]))
    names = draw(st.lists(st.text("aä 1./", min_size=1, max_size=4), max_size=3))
    return PoseSequence("a", [draw(frames(skeleton, name)) for name in names])


def assert_held(found: Frame, before: Frame, scored: bool = False) -> None:
    """Checks that a frame is what a file can hold of another."""
    own = before.in_skeleton(found.skeleton)
    there = np.isfinite(own.keypoints).all(axis=-1) & ~((own.keypoints == 0).all(axis=-1) & (own.flags == 0))
    np.testing.assert_array_equal(found.keypoints, np.where(there[..., None], own.keypoints, np.nan))
    flags = np.where(there, own.flags, 0)
    np.testing.assert_array_equal(found.flags, flags > 0 if scored else flags)
    np.testing.assert_allclose(found.boxes, own.boxes, rtol=0, atol=2e-6)


class TestFromScratch:
    @pytest.mark.parametrize("name", ["coco", "crowdpose"])
    @settings(deadline=None, max_examples=30)
    @given(sequence=sequences())
    def test_annotations(self, name: str, sequence: PoseSequence, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder, own = tmp_path_factory.mktemp("scratch"), FORMATS[name]
        document = rewritten(own, sequence, folder / "a.json")
        assert recognised(document) == [name]
        found = read(own, folder / "a.json")
        for after, before in zip(found.frames, sequence.frames, strict=True):
            assert (after.image, after.size) == (before.image, before.size)
            np.testing.assert_array_equal(after.person_scores, before.person_scores)
            assert_held(after, before)
        assert rewritten(own, found, folder / "b.json") == document
        assert rewritten(own, replace(found, original=None), folder / "c.json") == document

    @settings(deadline=None, max_examples=30)
    @given(data=st.data(), scored=st.booleans())
    def test_results(self, data: st.DataObject, scored: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder, own = tmp_path_factory.mktemp("results"), Coco(str(COCO_ANNOTATIONS))
        names = [frame.image for frame in read(Coco(), COCO_ANNOTATIONS).frames]
        drawn = [data.draw(frames(COCO17, name)) for name in names]
        if scored:
            elements = [data.draw(arrays(np.float64, frame.flags.shape, elements=SCORES)) for frame in drawn]
            drawn = [replace(frame, scores=scores) for frame, scores in zip(drawn, elements, strict=True)]
        document = rewritten(own, PoseSequence("a", drawn), folder / "a.json")
        assert [entry["score"] for entry in document] == np.concatenate([ranking_scores(f) for f in drawn]).tolist()
        found = read(own, folder / "a.json")
        has_scores = any(value % 1 for entry in document for value in entry["keypoints"][2::3])
        for after, before in zip(found.frames, drawn, strict=True):
            assert_held(after, before, has_scores)
        assert rewritten(own, found, folder / "b.json") == document

    def test_a_document(self, tmp_path: Path) -> None:
        keypoints = np.full((2, 15, 2), np.nan)
        keypoints[0, POSETRACK15.indices("nose", "head_top", "right_ankle")] = [[1.5, 2], [3, 4], [7, 8]]
        boxes = np.array([[10, 20, 40, 60.5], [np.nan] * 4])
        frame = Frame("c/0.jpg", POSETRACK15, keypoints, boxes=boxes, person_scores=np.array([np.nan, 2.5]))
        sequence = PoseSequence("c", [Frame.empty("c/n.jpg", COCO17), replace(frame, size=(640, 480))])
        found = rewritten(Coco(), sequence, tmp_path / "a.json")
        (category,) = found.pop("categories")
        assert category["keypoints"] == list(COCO17.names)
        assert [1, 2] in category["skeleton"]
        common = {"image_id": 2, "category_id": 1, "iscrowd": 0}
        pose = [1.5, 2, 1, *[0] * 45, 7, 8, 1]
        assert found == {
            "images": [
                {"id": 1, "file_name": "c/n.jpg"},
                {"id": 2, "file_name": "c/0.jpg", "width": 640, "height": 480},
            ],
            "annotations": [
                {"id": 1, **common, "keypoints": pose, "num_keypoints": 2, "bbox": [10, 20, 30, 40.5], "area": 1215},
                {"id": 2, **common, "keypoints": [0] * 51, "num_keypoints": 0, "score": 2.5},
            ],
        }

    @pytest.mark.parametrize(
        ("names", "ids"),
        [
            ([], []),
            (["000000000139.jpg", "val/7.png"], [139, 7]),
            (["7.jpg", "a/7.jpg"], [1, 2]),
            (["7.jpg", "b.jpg"], [1, 2]),
        ],
    )
    def test_ids_of_images(self, names: list[str], ids: list[int], tmp_path: Path) -> None:
        sequence = PoseSequence("a", [Frame.empty(name, COCO17) for name in names])
        document = rewritten(Coco(), sequence, tmp_path / "a.json")
        assert [image["id"] for image in document["images"]] == ids

    def test_results_find_their_images_by_name(self, tmp_path: Path) -> None:
        own = Coco(str(COCO_ANNOTATIONS))
        people = np.ones((1, 17, 2))
        sequence = PoseSequence(
            "a", [Frame(name, COCO17, people) for name in ("000000000139.jpg", "x/000000000632.png")]
        )
        assert [entry["image_id"] for entry in rewritten(own, sequence, tmp_path / "a.json")] == [139, 632]
        unknown = PoseSequence("a", [Frame.empty("5.jpg", COCO17), Frame("6.jpg", COCO17, people)])
        with pytest.raises(
            UserError, match=r"^6.jpg: expected one of the images of .*annotations.json, found no such name$"
        ):
            own.write([unknown], tmp_path / "b.json")
        assert not (tmp_path / "b.json").exists()

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
    @pytest.mark.parametrize("name", ["coco", "crowdpose"])
    def test_a_whole_pose_of_any_skeleton(self, name: str, skeleton: Skeleton, tmp_path: Path) -> None:
        keypoints = np.arange(2.0 * len(skeleton)).reshape(1, -1, 2) + 1
        FORMATS[name].write([PoseSequence("a", [Frame("a.jpg", skeleton, keypoints)])], tmp_path / "a.json")
        (frame,) = read(FORMATS[name], tmp_path / "a.json").frames
        np.testing.assert_array_equal(frame.keypoints, skeleton.convert(keypoints, frame.skeleton))

    def test_several_sequences_are_one_file(self, tmp_path: Path) -> None:
        parts = [PoseSequence(name, [Frame.empty(f"{name}.jpg", COCO17)]) for name in "ab"]
        Coco().write(parts, tmp_path / "a.json")
        assert [frame.image for frame in read(Coco(), tmp_path / "a.json").frames] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("scores", "person_score", "expected"),
    [([np.nan, np.nan, np.nan], np.nan, 1), ([0.5, np.nan, 0.9], np.nan, 0.5), ([0.5, 0.25, 0.9], 3, 3)],
)
def test_ranking_scores(scores: list[float], person_score: float, expected: float) -> None:
    """Of keypoints that are there."""
    skeleton = Skeleton(("nose", "left_eye", "right_eye"), (), (1, 1, 1))
    keypoints = np.array([[[1, 2], [3, 4], [np.nan, np.nan]]])
    frame = Frame("a", skeleton, keypoints, np.array([scores]), person_scores=np.array([person_score]))
    assert ranking_scores(frame).tolist() == [expected]


BROKEN: list[tuple[Any, str]] = [
    (5, "a.json: expected an object, found 5"),
    ({}, "a.json: expected the field 'annotations', found no field at all"),
    ({"annotations": []}, "a.json: expected the field 'images', found annotations"),
    ({"annotations": [], "images": [5]}, "images[0]: expected an object, found 5"),
    ({"annotations": [], "images": [{"id": 1}]}, "images[0]: expected the field 'file_name', found id"),
    ({"annotations": [], "images": [{"id": [], "file_name": "a"}]}, "images[0].id: expected a whole number or a text"),
    ({"annotations": [], "images": [], "categories": 5}, "a.json: categories: expected a list, found 5"),
    (
        {"annotations": [], "images": [], "categories": [{"keypoints": list(POSETRACK18.names)}]},
        "categories[0].keypoints: expected all 17 keypoints of coco, found no left_eye; read the file in its own",
    ),
    ({"annotations": [5], "images": []}, "a.json: annotations[0]: expected an object, found 5"),
    ([5], "a.json: [0]: expected an object, found 5"),
    (annotations(keypoints=[1, 2]), "a.json: annotations[0].keypoints: expected 51 numbers, found a list of 2"),
    (annotations(keypoints=5), "annotations[0].keypoints: expected a list, found 5"),
    (annotations(keypoints=["x"] * 51), "annotations[0].keypoints: expected 51 numbers, found 'x'"),
    (annotations(keypoints=[10**400] * 51), "annotations[0].keypoints: expected 51 numbers"),
    (annotations(keypoints=[[1]] * 51), "annotations[0].keypoints: expected 51 numbers, found a list of 1"),
    (annotations(image_id=8), "annotations[0]: image_id 8 is not among the file's images"),
    (annotations(image_id=[]), "annotations[0].image_id: expected a whole number or a text, found a list of 0"),
    (annotations(score="high"), "annotations[0].score: expected a number, found 'high'"),
    ([result(), result(keypoints=[1])], "a.json: [1].keypoints: expected 51 numbers, found a list of 1"),
    ([{"keypoints": KEYPOINTS}], "[0].image_id: expected a number, found None; set the file of annotations"),
    ([result(image_id="a.jpg")], "[0].image_id: expected a number, found 'a.jpg'; set the file of annotations"),
    ([result(score=[1, 2])], "[0].score: expected a number, found a list of 2"),
]


@pytest.mark.parametrize(("document", "message"), BROKEN)
def test_broken_files(document: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        Coco().read(written(tmp_path / "a.json", document))
    assert str(error.value).startswith(str(tmp_path / "a.json"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_results_of_other_images(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [result(image_id=7)])
    with pytest.raises(UserError, match=r"\[0\]: image_id 7 is not among the images of .*/coco/annotations.json$"):
        Coco(str(COCO_ANNOTATIONS)).read(path)
    with pytest.raises(UserError, match=r"no.json: no such file$"):
        Coco(str(tmp_path / "no.json")).read(path)


@pytest.mark.parametrize("make", [annotations, lambda: [result(bbox=[1, 2, 3, 4])]], ids=["annotations", "results"])
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_wild_files_are_read_or_refused(
    make: Callable[[], Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = copy.deepcopy(make())
    put_something_wild(document, data)
    path = tmp_path_factory.mktemp("wild") / "a.json"
    path.write_text(json.dumps(document))
    skeleton_of(document)
    try:
        sequence = read(Coco(), path)
    except UserError:
        return
    parsed = json.dumps(json.loads(path.read_text()))
    assert json.dumps(rewritten(Coco(), sequence, path.with_name("b.json"))) == parsed
    Coco().write([changed(sequence, lambda frame: with_keypoint(frame, 0, (1.5, 2)))], path.with_name("c.json"))
    Coco().write([replace(sequence, original=None)], path.with_name("d.json"))


class TestPoseTrack21:
    def test_is_read_as_2018(self) -> None:
        frames = read(PoseTrack21(), POSETRACK21).frames
        assert [len(frame) for frame in frames] == [0, 2, 1]
        assert frames[1].track_ids == (0, 1)
        assert frames[1].head_boxes[0].tolist() == [246, 82, 277, 120]
        assert frames[1].is_posed.tolist() == [True, False]
        assert frames[1].keypoints[0, POSETRACK18.index("left_elbow")].tolist() == [290, 170]
        assert not frames[1].present[0, POSETRACK18.index("left_elbow")]

    def test_a_changed_pose_keeps_its_person(self, tmp_path: Path) -> None:
        document = json.loads(POSETRACK21.read_text())
        sequence = read(PoseTrack21(), POSETRACK21)
        sequence.frames[2] = with_keypoint(sequence.frames[2], POSETRACK18.index("nose"), (1.5, 2))
        document["annotations"][2]["keypoints"][:3] = [1.5, 2, 1]
        assert rewritten(PoseTrack21(), sequence, tmp_path / "a.json") == document

    def test_from_scratch(self, tmp_path: Path) -> None:
        keypoints = POSETRACK15.convert(np.ones((1, 15, 2)), POSETRACK18)
        sequence = PoseSequence("a", [Frame.empty("0.jpg", POSETRACK18), Frame("1.jpg", POSETRACK18, keypoints)])
        document = rewritten(PoseTrack21(), sequence, tmp_path / "a.json")
        assert [image.pop("has_labeled_person") for image in document["images"]] == [False, True]
        assert document == rewritten(PoseTrack18(), sequence, tmp_path / "b.json")
        (_, frame) = read(PoseTrack21(), tmp_path / "a.json").frames
        np.testing.assert_array_equal(frame.keypoints, keypoints)


def test_the_sample_is_posetrack18() -> None:
    path = next((ROOT / "hpr" / "assets" / "sample" / "predictions").glob("*.json"))
    assert recognised(json.loads(path.read_text())) == ["posetrack18"]


def test_huge_scores_have_a_mean() -> None:
    frame = Frame("a.jpg", COCO17, np.ones((1, 17, 2)), np.full((1, 17), 1.5e308))
    np.testing.assert_allclose(ranking_scores(frame), [1.5e308])
