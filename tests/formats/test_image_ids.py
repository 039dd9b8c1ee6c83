"""Ids of images in files of COCO's form, which are matched once, where they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco
from hpr.formats.records import RecordFormat

KEYPOINTS = [11.5, 12.5, 2, *[0] * 45, 21.5, 22.5, 1]


@pytest.mark.parametrize("own", [Coco(), PoseTrack18()], ids=["coco", "posetrack18"])
@pytest.mark.parametrize(("of_image", "of_person"), [(7, 7), (7, "7"), ("7", 7), ("7", "007"), (7, 7.0), ("a", "a")])
def test_ids_of_one_number_are_one(own: RecordFormat, of_image: Any, of_person: Any, tmp_path: Path) -> None:
    """Whoever scores the file asks for no id; the file keeps its own."""
    images = [{"id": 8, "file_name": "b.jpg"}, {"id": of_image, "file_name": "a.jpg"}]
    document = {"images": images, "annotations": [{"id": 5, "image_id": of_person, "keypoints": KEYPOINTS}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    (sequence,) = own.read(path)
    assert [len(frame) for frame in sequence.frames] == [0, 1]

    own.write([sequence], tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == document
    if isinstance(own, Coco):
        truth = own.ground_truth(path)
        assert (truth.image_indices.tolist(), truth.is_posed.tolist()) == ([1], [True])
        assert [image.id for image in truth.images] == [8, of_image]
