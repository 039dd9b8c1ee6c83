"""The examples of docs/python.md, run from top to bottom with stand-ins for what they need."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT

from hpr import PoseRefiner
from hpr.formats import PoseTrack18
from hpr.images import read_image
from hpr.refine.results import Outcome
from hpr.skeleton import COCO17, POSETRACK15

SAMPLE = ROOT / "hpr" / "assets" / "sample"
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


class StandIn:
    """Loads the weights that a page of the documentation names; the demo's for the published ones."""

    @staticmethod
    def load(name: str) -> PoseRefiner:
        return PoseRefiner.load("demo" if name == "published" else name, "cpu", flip=False)


class KeyPoints:
    """As supervision's until 0.28; `len` is the number of people."""

    def __init__(self, xy: Any, confidence: Any) -> None:
        self.xy, self.confidence = xy, confidence

    def __len__(self) -> int:
        return len(self.xy)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples take for given."""
    path = next((SAMPLE / "predictions").iterdir())
    (sequence,) = PoseTrack18().read(path)
    frame = next(frame for frame in sequence.frames if len(frame) > 1)
    image = read_image(SAMPLE / frame.image)
    coco = frame.in_skeleton(COCO17).poses
    scores = np.where(np.isnan(coco[..., 0]), 0.0, 0.9)
    triples = np.concatenate([np.nan_to_num(coco), scores[..., None]], axis=2)
    boxes = np.concatenate([np.nanmin(coco, axis=1) - 10, np.nanmax(coco, axis=1) + 10], axis=1)
    people = [
        {"keypoints": own[:, :2].tolist(), "keypoint_scores": own[:, 2].tolist(), "bbox": [box.tolist()]}
        for own, box in zip(triples, boxes, strict=True)
    ]

    def model(picture: Any) -> list[Any]:
        np.testing.assert_array_equal(picture[..., ::-1], image)
        xy, conf = torch.from_numpy(triples[..., :2].copy()), torch.from_numpy(triples[..., 2])
        found = SimpleNamespace(xyxy=torch.from_numpy(boxes))
        return [SimpleNamespace(keypoints=SimpleNamespace(xy=xy, conf=conf), boxes=found)]

    document = json.loads(path.read_text())
    few = {entry["id"] for entry in document["images"][:2]}
    document["images"] = document["images"][:2]
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in few]
    (tmp_path / "images").symlink_to(SAMPLE / "images")
    for entry in document["images"]:
        entry["file_name"] = entry["file_name"].removeprefix("images/")
    (tmp_path / "poses.json").write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").symlink_to(SAMPLE / frame.image)
    monkeypatch.setattr("hpr.PoseRefiner", StandIn, raising=False)
    return {
        "image": image,
        "keypoints": coco,
        "scores": scores,
        "boxes": boxes,
        "person_scores": np.full(len(coco), 0.9),
        "posetrack_keypoints": frame.in_skeleton(POSETRACK15).poses,
        "model": model,
        "inferencer": lambda picture: iter([{"predictions": [people]}]),
        "key_points": KeyPoints(triples[..., :2].astype(np.float32), triples[..., 2]),
    }


def test_examples(names: dict[str, Any], tmp_path: Path) -> None:
    coco, results = names["keypoints"], []
    for block in BLOCKS:
        exec(block, names)  # in the order of the page: later examples use what earlier ones made
        results.append(names["refined"])
    assert len(BLOCKS) == 8
    people = len(coco)
    assert names["picture"].shape == names["image"].shape
    assert (names["picture"] != names["image"]).any()
    for refined in (results[0], *results[4:7]):  # of files, after Ultralytics and MMPose, with supervision
        assert refined.keypoints.shape == (people, 17, 2)
        assert refined.outcomes == [Outcome.REFINED] * people
    for refined in results[4:6]:  # the same poses, scores and boxes
        np.testing.assert_allclose(refined.keypoints, results[0].keypoints, atol=0.01)
    np.testing.assert_allclose(names["first"].keypoints[:1], names["second"].keypoints, atol=0.01)
    assert results[2].scores.shape == (people, 17)
    assert results[3].keypoints.shape == (people, 15, 2)
    assert np.abs(names["key_points"].xy - np.nan_to_num(results[6].keypoints)).max() < 1e-3

    assert len(json.loads((tmp_path / "refined.json").read_text())) == people
    (before,), (after,) = (PoseTrack18().read(tmp_path / name) for name in ("poses.json", "refined_poses.json"))
    assert all((b.keypoints != a.keypoints).any() for b, a in zip(before.frames, after.frames, strict=True) if len(b))


def test_the_readme(names: dict[str, Any]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(block, names)
    assert names["refined"].keypoints.shape == names["keypoints"].shape


@pytest.mark.parametrize("people", [0, 2])
@pytest.mark.parametrize("has_scores", [True, False])
def test_after_ultralytics(people: int, has_scores: bool, names: dict[str, Any]) -> None:
    """With its own objects: nobody, and models without confidences (pip install hpr[recipes])."""
    engine = pytest.importorskip("ultralytics.engine.results")
    triples = np.resize(np.dstack([names["keypoints"], names["key_points"].confidence]), (people, 17, 3))
    data = torch.from_numpy(np.nan_to_num(triples)[..., : 3 if has_scores else 2])
    boxes = torch.from_numpy(np.resize(np.hstack([names["boxes"], names["boxes"][:, :2]]), (people, 6)))
    picture = np.ascontiguousarray(names["image"])
    result = engine.Results(picture, "a.jpg", {0: "person"}, boxes=boxes, keypoints=data)
    (block,) = (own for own in BLOCKS if "ultralytics" in own)
    refiner = StandIn.load("photo")
    exec(f"import numpy as np\n{block}", names := {**names, "refiner": refiner, "model": lambda picture: [result]})
    assert names["refined"].outcomes == [Outcome.REFINED] * people


@pytest.mark.parametrize("people", [0, 2])
@pytest.mark.parametrize("key", ["keypoint_confidence", None])
def test_with_supervision(people: int, key: str | None, names: dict[str, Any]) -> None:
    """With its own objects: nobody, and no confidences."""
    supervision = pytest.importorskip("supervision")
    old = names["key_points"]
    xy, scores = np.resize(old.xy, (people, 17, 2)), np.resize(old.confidence, (people, 17))
    key_points = (
        supervision.KeyPoints(xy=xy, **({key: scores} if key else {})) if people else supervision.KeyPoints.empty()
    )
    (block,) = (own for own in BLOCKS if "supervision" in own)
    names |= {"refiner": StandIn.load("photo"), "np": np, "key_points": key_points}
    exec(block, names)
    assert names["refined"].outcomes == [Outcome.REFINED] * people
