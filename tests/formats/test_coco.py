"""COCO's and CrowdPose's annotations and results, and PoseTrack21's files, which have the same form."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import GOLDEN
from documents import moved, read, read_document, rewritten, some_keypoints, with_keypoints, written

from hpr.errors import UserError
from hpr.formats import get_format
from hpr.formats.coco import Coco, ranking_scores
from hpr.poses import NO_RECORD, Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15, Skeleton

FILES = GOLDEN / "formats"
COCO_ANNOTATIONS, COCO_RESULTS = FILES / "coco" / "annotations.json", FILES / "coco" / "results.json"
CROWDPOSE_RESULTS = FILES / "crowdpose" / "results.json"
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


class TestAnnotations:
    def test_own_order_of_keypoints(self, tmp_path: Path) -> None:
        """Also with others among them, which stay when a pose is changed."""
        document = annotations(keypoints=[9, 8, 2, 1.5, 2.5, 1, *[0] * 45, 3, 4, 2])
        document["categories"][0]["keypoints"] = ["tail", *reversed(COCO17.names)]
        sequence = read_document(Coco(), tmp_path, document)
        (frame,) = sequence.frames
        assert frame.keypoints[0, frame.skeleton.indices("tail", "right_ankle", "nose")].tolist() == [
            *([9, 8], [1.5, 2.5], [3, 4])
        ]
        assert np.isnan(frame.keypoints).all(axis=-1).sum() == 15
        eyed = moved(sequence, left_eye=(5.5, 6))
        found = rewritten(Coco(), eyed, tmp_path / "b.json")["annotations"][0]
        assert found["keypoints"] == [9, 8, 2, 1.5, 2.5, 1, *[0] * 42, 5.5, 6, 1, 3, 4, 2]
        assert found["num_keypoints"] == 4

    @pytest.mark.parametrize("order", [1, -1])
    def test_people_of_another_category(self, order: int, tmp_path: Path) -> None:
        document = annotations(category_id=2, keypoints=[1, 2, 2])
        document["categories"] = [*document["categories"], {"id": 2, "name": "dog", "keypoints": ["tail"]}][::order]
        sequence = read_document(Coco(), tmp_path, document)
        assert sequence.people == 0
        assert rewritten(Coco(), sequence, tmp_path / "b.json") == document

    def test_scores_in_the_place_of_flags(self, tmp_path: Path) -> None:
        """One number that is no flag makes them scores in the whole file."""
        document = annotations(keypoints=[1, 2, 0.25, 3, 4, 1, 5, 6, -0.5, *[0] * 42], score=0.75)
        (frame,) = read_document(Coco(), tmp_path, document).frames
        np.testing.assert_array_equal(frame.scores[0, :4], [0.25, 1, -0.5, np.nan])
        assert frame.flags[0, :4].tolist() == [1, 1, 0, 0]
        assert frame.person_scores.tolist() == [0.75]


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
        assert self.regions(tmp_path / "a.json", self.POSED, {**self.UNPOSED, "bbox": [1, 2]}) == ()

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

    @pytest.mark.parametrize("image_id", [139, "139", "000000000139", 139.0], ids=str)
    def test_ids_that_are_no_whole_numbers(self, image_id: object, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", [result(image_id=image_id)])
        for own in (Coco(), Coco(str(COCO_ANNOTATIONS))):
            assert [frame.image for frame in read(own, path).frames if len(frame)] == ["000000000139.jpg"]

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
        assert frame.keypoints[0, frame.skeleton.index("right_ankle")].tolist() == [1.5, 2.5]
        bare = PoseSequence("a", [replace(frame, person_scores=np.array([0.5]))])
        assert rewritten(Coco(str(beside)), bare, tmp_path / "b.json") == [entry]


def _with_one_more(frame: Frame) -> Frame:
    """A frame with another person, whose place is told by the name of the image."""
    people = frame.select(np.arange(len(frame) + 1) % max(len(frame), 1))  # the first once more
    keypoints, records = people.keypoints.copy(), people.records.copy()
    keypoints[-1], records[-1] = [int(frame.image.removesuffix(".jpg")) + 0.5, 1], NO_RECORD
    flags = np.vstack([frame.flags, np.ones((1, len(frame.skeleton)))])
    return replace(people, keypoints=keypoints, records=records, flags=flags)


class TestWritten:
    @pytest.mark.parametrize("path", [COCO_RESULTS, CROWDPOSE_RESULTS], ids=lambda path: str(path.parent.name))
    def test_unchanged_with_annotations(self, path: Path, tmp_path: Path) -> None:
        own = type(get_format(path.parent.name))(str(path.with_name("annotations.json")))  # type: ignore[call-arg]
        assert rewritten(own, read(own, path), tmp_path / "a.json") == json.loads(path.read_text())

    def test_a_changed_pose_of_annotations(self, tmp_path: Path) -> None:
        document = json.loads(COCO_ANNOTATIONS.read_text())
        sequence = read(Coco(), COCO_ANNOTATIONS)
        sequence.frames[2] = with_keypoints(sequence.frames[2].select(np.array([0])), 0, left_eye=(405.5, 112))
        document["annotations"][1]["keypoints"][3:6] = [405.5, 112, 1]
        document["annotations"][1]["num_keypoints"] = 14  # area and box stay, and so does everyone who is in no frame
        del document["annotations"][5]
        found = rewritten(Coco(), sequence, tmp_path / "a.json")
        assert found == document
        assert '"keypoints":[402,118,2,405.5,112,1,0,0,0,' in (tmp_path / "a.json").read_text()

    def test_a_changed_pose_of_results_with_scores(self, tmp_path: Path) -> None:
        document = json.loads(COCO_RESULTS.read_text())
        sequence = read(Coco(), COCO_RESULTS)
        places = {"nose": (1.25, 2.5), "left_eye": (np.nan, np.nan)}
        sequence.frames[0] = with_keypoints(sequence.frames[0], slice(None), **places)
        document[0]["keypoints"][:6] = [1.25, 2.5, 0.9, 0, 0, 0]
        document[3]["keypoints"][:6] = [1.25, 2.5, 1, 0, 0, 0]  # the nose had no score
        assert rewritten(Coco(), sequence, tmp_path / "a.json") == document

    def test_somebody_new_in_annotations(self, tmp_path: Path) -> None:
        sequence = read(Coco(), COCO_ANNOTATIONS)
        keypoints, scores = some_keypoints(COCO17, nose=(1.5, 2))[None], np.full((1, 17), 0.25)
        sequence.frames[1] = Frame("b.jpg", COCO17, keypoints, scores, boxes=np.array([[1.0, 2, 4, 6]]))
        *others, new = rewritten(Coco(), sequence, tmp_path / "a.json")["annotations"]
        assert others == json.loads(COCO_ANNOTATIONS.read_text())["annotations"]
        expected = {"id": 900100000140, "image_id": 285, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12}
        assert new == {**expected, "iscrowd": 0, "keypoints": [1.5, 2, 1, *[0] * 48], "num_keypoints": 1}

    def test_many_people_in_no_order_of_images(self, tmp_path: Path) -> None:
        """Every third moves, one in five is gone, and each image gets a new person."""
        document = annotations()
        document["images"] = [{"id": i, "file_name": f"{i}.jpg"} for i in range(100)]
        draw = np.random.default_rng(0)
        document["annotations"] = [
            {
                **annotations()["annotations"][0],
                "id": i,
                "image_id": int(draw.integers(100)),
                "keypoints": [i + 1, 2, 2] * 17,
            }
            for i in range(2500)
        ]
        (tmp_path / "in.json").write_text(json.dumps(document))
        sequence, expected = read(Coco(), tmp_path / "in.json"), []
        for i, record in enumerate(document["annotations"]):
            if i % 5:
                change = {} if i % 3 else {"keypoints": [i + 1.25, 2.25, 2] * 17, "num_keypoints": 17}
                expected.append({**record, **change})

        frames = []
        for frame in sequence.frames:
            shifts = np.where(frame.records % 3 == 0, 0.25, 0)[:, None, None]
            known = replace(frame, keypoints=frame.keypoints + shifts).select(frame.records % 5 > 0)
            frames.append(_with_one_more(known))
        found = rewritten(Coco(), replace(sequence, frames=frames), tmp_path / "a.json")["annotations"]
        assert found[:2000] == expected
        assert [(record["id"], record["image_id"]) for record in found[2000:]] == [(2500 + i, i) for i in range(100)]
        assert all(record["keypoints"][:3] == [record["image_id"] + 0.5, 1, 1] for record in found[2000:])


class TestFromScratch:
    @pytest.mark.parametrize(
        ("scores", "person_score", "v", "score"),
        [(np.nan, np.nan, 1, 1), (0.25, np.nan, 0.25, 0.25), (0.25, 0.75, 0.25, 0.75), (np.nan, 0.75, 1, 0.75)],
    )
    def test_results(self, scores: float, person_score: float, v: float, score: float, tmp_path: Path) -> None:
        """v is the score of a keypoint if there are any, else its flag."""
        own, keypoints = Coco(str(COCO_ANNOTATIONS)), some_keypoints(COCO17, nose=(1.5, 2))[None]
        arrays: dict[str, Any] = {"scores": np.full((1, 17), scores), "person_scores": np.array([person_score])}
        frame = Frame("000000000285.jpg", COCO17, keypoints, boxes=np.array([[1.0, 2, 4, 6]]), **arrays)
        found = rewritten(own, PoseSequence("a", [frame]), tmp_path / "a.json")
        record = {"image_id": 285, "category_id": 1, "keypoints": [1.5, 2, v, *[0] * 48], "score": score}
        assert found == [{**record, "bbox": [1, 2, 3, 4]}]
        assert [len(own) for own in read(own, tmp_path / "a.json").frames] == [0, 1, 0]

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
        pose, size = [1.5, 2, 1, *[0] * 45, 7, 8, 1], {"width": 640, "height": 480}
        assert found == {
            "images": [{"id": 1, "file_name": "c/n.jpg"}, {"id": 2, "file_name": "c/0.jpg", **size}],
            "annotations": [
                {"id": 1, **common, "keypoints": pose, "num_keypoints": 2, "bbox": [10, 20, 30, 40.5], "area": 1215},
                {"id": 2, **common, "keypoints": [0] * 51, "num_keypoints": 0, "score": 2.5},
            ],
        }

    @pytest.mark.parametrize(
        ("names", "ids"),
        [
            *(([], []), (["000000000139.jpg", "val/7.png"], [139, 7])),
            *((["7.jpg", "a/7.jpg"], [1, 2]), (["7.jpg", "b.jpg"], [1, 2])),
        ],
    )
    def test_ids_of_images(self, names: list[str], ids: list[int], tmp_path: Path) -> None:
        sequence = PoseSequence("a", [Frame.empty(name, COCO17) for name in names])
        document = rewritten(Coco(), sequence, tmp_path / "a.json")
        assert [image["id"] for image in document["images"]] == ids

    def test_results_find_their_images_by_name(self, tmp_path: Path) -> None:
        own = Coco(str(COCO_ANNOTATIONS))
        people = np.ones((1, 17, 2))
        frames = [Frame(name, COCO17, people) for name in ("000000000139.jpg", "x/000000000632.png")]
        found = rewritten(own, PoseSequence("a", frames), tmp_path / "a.json")
        assert [entry["image_id"] for entry in found] == [139, 632]
        unknown = PoseSequence("a", [Frame.empty("5.jpg", COCO17), Frame("6.jpg", COCO17, people)])
        with pytest.raises(UserError, match=r"^6.jpg: expected one of the images of .*, found no such name$"):
            own.write([unknown], tmp_path / "b.json")
        assert not (tmp_path / "b.json").exists()

    def test_several_sequences_are_one_file(self, tmp_path: Path) -> None:
        parts = [PoseSequence(name, [Frame.empty(f"{name}.jpg", COCO17)]) for name in "ab"]
        Coco().write(parts, tmp_path / "a.json")
        assert [frame.image for frame in read(Coco(), tmp_path / "a.json").frames] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("scores", "person_score", "expected"),
    [
        *(([np.nan, np.nan, np.nan], np.nan, 1), ([0.5, np.nan, 0.9], np.nan, 0.5), ([0.5, 0.25, 0.9], 3, 3)),
        ([1.5e308] * 3, np.nan, 1.5e308),
    ],
)
def test_ranking_scores(scores: list[float], person_score: float, expected: float) -> None:
    """Of keypoints that are there."""
    skeleton = Skeleton(("nose", "left_eye", "right_eye"), (), (1, 1, 1))
    keypoints = np.array([[[1, 2], [3, 4], [np.nan, np.nan]]])
    frame = Frame("a", skeleton, keypoints, np.array([scores]), person_scores=np.array([person_score]))
    assert ranking_scores(frame).tolist() == [expected]


def test_results_of_other_images(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [result(image_id=7)])
    frames = read(Coco(str(COCO_ANNOTATIONS)), path).frames  # they are not scored
    assert [(frame.image, len(frame)) for frame in frames[2:]] == [("000000000632.jpg", 0), ("000000000007.jpg", 1)]
    with pytest.raises(
        UserError, match=r"\[0\].image_id: 'x' is not among the images of .*/coco/annotations.json; set"
    ):
        Coco(str(COCO_ANNOTATIONS)).read(written(tmp_path / "b.json", [result(image_id="x")]))
    with pytest.raises(UserError, match=r"no.json: no such file$"):
        Coco(str(tmp_path / "no.json")).read(path)


def test_fields_that_nobody_knows_go_with_the_record(tmp_path: Path) -> None:
    """Whoever has no record counts as new."""
    sequence = read_document(Coco(), tmp_path, [result(odd=1), result(odd=2)])
    sequence.frames[0] = replace(sequence.frames[0], records=np.array([NO_RECORD, 1]))
    assert [record.get("odd") for record in rewritten(Coco(), sequence, tmp_path / "b.json")] == [2, None]
