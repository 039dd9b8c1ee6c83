"""People who are dropped from a file that was read, and people who are added to it: the same in every format."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from documents import changed, document17, document18, point, read, rewritten, written
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.formats import PoseTrack17, PoseTrack18
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18

COUNTS = (0, 3, 1)
"""People in the frames of the documents."""


def several18() -> dict[str, Any]:
    """With the annotations of the images mixed up, and fields that nobody knows."""
    document = document18()
    (annotation,) = document["annotations"]
    document["images"] = [{"id": i, "file_name": f"{i}.jpg", "odd": {"i": i}} for i in range(len(COUNTS))]
    image_ids = [1, 2, 1, 1]
    document["annotations"] = [
        {**copy.deepcopy(annotation), "id": 100 + i, "image_id": image_id, "track_id": i, "odd": [i]}
        for i, image_id in enumerate(image_ids)
    ]
    return document


def several17() -> dict[str, Any]:
    document = document17([point(0, 1, 2, score=[0.5]), point(13, 3, 4)])
    (entry,) = document["annolist"]
    (record,) = entry["annorect"]
    document["annolist"] = [
        {
            **entry,
            "image": f"{i}.jpg",
            "annorect": [{**copy.deepcopy(record), "track_id": [10 * i + person]} for person in range(count)],
        }
        for i, count in enumerate(COUNTS)
    ]
    return document


SEVERAL = {"posetrack18": several18, "posetrack17": several17}


def records(name: str, document: Any) -> list[list[Any]]:
    """Returns the records of each image."""
    if name == "posetrack17":
        return [entry["annorect"] for entry in document["annolist"]]
    return [
        [annotation for annotation in document["annotations"] if annotation["image_id"] == image["id"]]
        for image in document["images"]
    ]


def edited(name: str, document: Any, edit: Callable[[Any], Any]) -> Any:
    """Returns a document with what `edit` makes of each record; without those of which it makes None."""
    document = copy.deepcopy(document)
    holders, key = (document["annolist"], "annorect") if name == "posetrack17" else ([document], "annotations")
    for holder in holders:
        holder[key] = [edit(record) for record in holder[key] if edit(record) is not None]
    return document


def without(name: str, document: Any, dropped: list[Any]) -> Any:
    """Returns a document without some records."""
    return edited(name, document, lambda record: None if record in dropped else record)


def kept_only(sequence: PoseSequence, kept: list[list[int]]) -> PoseSequence:
    """Returns a sequence with some people of each frame."""
    frames = [frame.select(np.array(places, int)) for frame, places in zip(sequence.frames, kept, strict=True)]
    return replace(sequence, frames=frames)


def with_another(frame: Frame, keypoints: FloatArray, **arrays: Any) -> Frame:
    """Returns a frame with one more person, of whom the file does not know."""
    new = Frame(frame.image, frame.skeleton, keypoints[None], **arrays)
    names = ("keypoints", "scores", "flags", "boxes", "head_boxes", "posed", "records", "confidences", "person_scores")
    both: dict[str, Any] = {name: np.concatenate([getattr(frame, name), getattr(new, name)]) for name in names}
    return replace(frame, track_ids=(*frame.track_ids, *new.track_ids), **both)


@pytest.mark.parametrize("name", POSETRACK)
def test_everyone(name: str, tmp_path: Path) -> None:
    sequence = read(POSETRACK[name], written(tmp_path / "a.json", SEVERAL[name]()))
    assert [len(frame) for frame in sequence.frames] == list(COUNTS)
    nobody = rewritten(POSETRACK[name], kept_only(sequence, [[], [], []]), tmp_path / "b.json")
    everyone = [record for own in records(name, SEVERAL[name]()) for record in own]
    assert nobody == without(name, SEVERAL[name](), everyone)
    assert records(name, nobody) == [[], [], []]


@pytest.mark.parametrize("name", POSETRACK)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_whoever_is_dropped_is_gone_and_nothing_else(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, document = tmp_path_factory.mktemp("people"), SEVERAL[name]()
    sequence = read(POSETRACK[name], written(folder / "a.json", document))
    masks = [data.draw(st.lists(st.booleans(), min_size=count, max_size=count)) for count in COUNTS]
    kept = [[place for place, stays in enumerate(mask) if stays] for mask in masks]
    expected = without(
        name,
        document,
        [
            record
            for own, mask in zip(records(name, document), masks, strict=True)
            for record, stays in zip(own, mask, strict=True)
            if not stays
        ],
    )
    assert rewritten(POSETRACK[name], kept_only(sequence, kept), folder / "b.json") == expected
    masked = [frame.select(np.array(mask, bool)) for frame, mask in zip(sequence.frames, masks, strict=True)]
    assert rewritten(POSETRACK[name], replace(sequence, frames=masked), folder / "c.json") == expected


@pytest.mark.parametrize("name", POSETRACK)
@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_one_person_of_a_golden_file(name: str, clip: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "predictions" / f"{clip}.json"
    document = json.loads(path.read_text())
    sequence = read(POSETRACK[name], path)
    place = next(place for place, frame in enumerate(sequence.frames) if len(frame) > 1)
    gone = records(name, document)[place][1]
    kept = [list(range(len(frame))) for frame in sequence.frames]
    kept[place].remove(1)
    found = rewritten(POSETRACK[name], kept_only(sequence, kept), tmp_path / "a.json")
    assert found == without(name, document, [gone])


@pytest.mark.parametrize("name", POSETRACK)
def test_a_dropped_and_a_changed_person(name: str, tmp_path: Path) -> None:
    """Places in the frame are not places in the file: the change goes to its own record, and keeps what it held."""
    document = SEVERAL[name]()
    sequence = read(POSETRACK[name], written(tmp_path / "a.json", document))
    rest = kept_only(sequence, [[], [1, 2], [0]])
    keypoints = rest.frames[1].keypoints.copy()
    keypoints[0, :] = np.nan
    keypoints[0, rest.frames[1].skeleton.index("nose")] = 55.5, 66.5
    flags = (~np.isnan(keypoints[..., 0])).astype(np.float64)
    rest.frames[1] = replace(rest.frames[1], keypoints=keypoints, flags=flags)
    gone, before, _ = records(name, document)[1]
    after = copy.deepcopy(before)
    if name == "posetrack17":
        after["annopoints"][0]["point"] = [point(13, 55.5, 66.5, score=[0])]
    else:
        after |= {"keypoints": [55.5, 66.5, 1, *[0] * 48], "scores": [0.25, *[0] * 16]}
    results = {json.dumps(gone): None, json.dumps(before): after}
    expected = edited(name, document, lambda record: results.get(json.dumps(record), record))
    assert rewritten(POSETRACK[name], rest, tmp_path / "b.json") == expected


class TestSomebodyNew:
    keypoints = POSETRACK15.convert(np.arange(30.0).reshape(1, 15, 2) + 0.5, POSETRACK18)[0]

    def test_in_a_posetrack18_file(self, tmp_path: Path) -> None:
        document = several18()
        sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
        arrays = {"head_boxes": np.array([[1.0, 2, 4, 6]]), "scores": np.full((1, 17), 0.5), "track_ids": (77,)}
        for place in (0, 1):
            sequence.frames[place] = with_another(sequence.frames[place], self.keypoints, **arrays)
        found = rewritten(PoseTrack18(), sequence, tmp_path / "b.json")
        (first, second) = found["annotations"][4:]
        triples = np.c_[np.nan_to_num(self.keypoints), np.isfinite(self.keypoints[:, :1])].reshape(-1).tolist()
        scores = [0 if "ear" in name else 0.5 for name in POSETRACK18.names]
        assert first == {
            **{"id": 104, "image_id": 0, "category_id": 1, "track_id": 77, "bbox_head": [1, 2, 3, 4]},
            **{"keypoints": triples, "scores": scores},
        }
        assert second == {**first, "id": 105, "image_id": 1}
        assert {**found, "annotations": found["annotations"][:4]} == document

    def test_in_a_posetrack17_file(self, tmp_path: Path) -> None:
        document = several17()
        sequence = read(PoseTrack17(), written(tmp_path / "a.json", document))
        keypoints = np.full((15, 2), np.nan)
        keypoints[3] = 7, 8.5
        for place in (0, 1):
            sequence.frames[place] = with_another(sequence.frames[place], keypoints, track_ids=(77,))
        found = rewritten(PoseTrack17(), sequence, tmp_path / "b.json")
        new = {"annopoints": [{"point": [{"id": [3], "x": [7], "y": [8.5]}]}], "track_id": [77]}
        for place in (0, 1):
            assert found["annolist"][place]["annorect"].pop() == new
        assert found == document

    def test_in_a_posetrack17_file_without_a_list_of_people(self, tmp_path: Path) -> None:
        sequence = read(PoseTrack17(), written(tmp_path / "a.json", {"annolist": [{"image": "a.jpg"}]}))
        assert rewritten(PoseTrack17(), sequence, tmp_path / "b.json") == {"annolist": [{"image": "a.jpg"}]}
        new = changed(sequence, lambda frame: with_another(frame, np.ones((15, 2))))
        (entry,) = rewritten(PoseTrack17(), new, tmp_path / "c.json")["annolist"]
        assert len(entry["annorect"]) == 1

    @pytest.mark.parametrize("ids", [[], [{}], [{"id": "a"}, {"id": None}]], ids=str)
    def test_in_a_posetrack18_file_without_numbers(self, ids: list[dict[str, Any]], tmp_path: Path) -> None:
        document = {"images": [{"id": "x", "file_name": "a.jpg"}], "annotations": [{**i, "image_id": "x"} for i in ids]}
        sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
        new = changed(sequence, lambda frame: with_another(frame, self.keypoints))
        found = rewritten(PoseTrack18(), new, tmp_path / "b.json")["annotations"]
        assert found[:-1] == document["annotations"]
        assert (found[-1]["id"], found[-1]["image_id"]) == (0, "x")

    def test_in_a_posetrack18_file_of_another_order(self, tmp_path: Path) -> None:
        """Without ears, but with a keypoint that PoseTrack does not have."""
        document = document18(keypoints=[0] * 48, scores=[])
        document["categories"] = [{"keypoints": ["tail", *POSETRACK15.names]}]
        sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
        new = changed(sequence, lambda frame: with_another(frame, self.keypoints, scores=np.full((1, 17), 0.5)))
        found = rewritten(PoseTrack18(), new, tmp_path / "b.json")
        own = np.c_[self.keypoints[POSETRACK18.mapping_to(POSETRACK15)], np.ones(15)]
        assert found["annotations"][1]["keypoints"] == [0, 0, 0, *own.reshape(-1).tolist()]
        assert found["annotations"][1]["scores"] == [0, *[0.5] * 15]
        (frame,) = read(PoseTrack18(), tmp_path / "b.json").frames
        np.testing.assert_array_equal(frame.keypoints[1], self.keypoints)

    @pytest.mark.parametrize("name", POSETRACK)
    def test_of_another_skeleton(self, name: str, tmp_path: Path) -> None:
        sequence = read(POSETRACK[name], written(tmp_path / "a.json", SEVERAL[name]()))
        keypoints = np.arange(34.0).reshape(17, 2) + 0.5
        own = POSETRACK[name].read(tmp_path / "a.json")[0].frames[1]
        new = changed(sequence, lambda frame: with_another(frame.in_skeleton(COCO17), keypoints))
        POSETRACK[name].write([new], tmp_path / "b.json")
        frame = read(POSETRACK[name], tmp_path / "b.json").frames[1]
        np.testing.assert_array_equal(frame.select(np.arange(3)).poses, own.poses)
        expected = COCO17.convert(keypoints[None], POSETRACK15)
        np.testing.assert_array_equal(frame.in_skeleton(POSETRACK15).keypoints[3:], expected)
