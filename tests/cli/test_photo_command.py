"""The photograph refiner by command: which weights a format gets, and a training from tools/photo_data.py's files."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from conftest import GOLDEN, fail, read_report, stopped_after, succeed
from matplotlib.cbook import get_sample_data

from hpr.formats import FORMATS
from hpr.models.places import ASSETS
from hpr.models.weights import load
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, PHOTO19, POSETRACK18
from tools import photo_data

FAST = ["flip=false", "margin=50", "device=cpu"]


@pytest.mark.parametrize(
    ("name", "folder", "chosen"),
    [
        ("posetrack18", "", "the photograph refiner"),
        ("posetrack18", "model", "the published weights"),
        ("posetrack18", "cache/hpr", "the published weights"),
        ("coco", "model", "the photograph refiner"),
        ("alphapose", "", "the photograph refiner"),
    ],
)
def test_weights_by_format(
    name: str, folder: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On any fresh clone; the demo's weights stand in for the published ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    if folder:
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(ASSETS / "demo.safetensors", tmp_path / folder / "snapshot-515000.safetensors")
    (tmp_path / "images").mkdir()
    shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images" / "000000000001.png")
    file_format = FORMATS[name]()
    skeleton = POSETRACK18 if name == "posetrack18" else file_format.skeletons[0]
    points = np.random.default_rng(0).uniform([100, 100], [160, 220], (1, len(skeleton), 2)).round(1)
    frame = Frame("000000000001.png", skeleton, points, np.full((1, len(skeleton)), 0.7), size=(333, 501))
    file_format.write([PoseSequence("a", [frame])], tmp_path / "in.json")
    words = ["dataset.predictions=in.json", "dataset.images=images", *FAST, "output_dir=out"]
    printed = succeed("refine.py", *words, cwd=tmp_path)
    (line,) = [line for line in printed.splitlines() if line.startswith("model=auto: ")]
    weights = f"{folder}/snapshot-515000.safetensors" if "published" in chosen else ASSETS / "photo.safetensors"
    assert line == f"model=auto: {chosen}, {weights}"
    assert read_report(tmp_path / "out")["persons"]["refined"] == 1


IMAGE = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
BODY = {"head_top": (258, 40), "nose": (268, 226), "left_ear": (362, 216), "right_ear": (168, 224)}
BODY |= {"left_shoulder": (444, 410), "right_shoulder": (94, 412), "left_elbow": (470, 560), "right_elbow": (50, 560)}
ESTIMATORS = ("lightning", "thunder", "heavy")


def write_photos(folder: Path, names: tuple[str, ...], is_wrong: tuple[bool, ...]) -> None:
    """Writes photographs of one person each, with estimates; wrong labels are far from what all estimators find."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, people, lines = [], [], []
    for index, wrong in enumerate(is_wrong):
        cv2.imwrite(str(folder / "images" / f"{index}.jpg"), IMAGE)
        images.append({"id": 70 + index, "file_name": f"{index}.jpg", "width": 512, "height": 600})
        points = {
            name: [*np.add(BODY[name], [0, -200 * wrong]).tolist(), 2] if name in BODY else [0] * 3 for name in names
        }
        person: dict[str, Any] = {
            "id": 90 + index,
            "image_id": 70 + index,
            "category_id": 1,
            "iscrowd": 0,
            "num_keypoints": 7,
        }
        person |= {"keypoints": np.ravel(list(points.values())).tolist(), "bbox": [20, 20, 480, 580], "area": 150_000.0}
        people.append(person)
        truth = np.array([BODY.get(name, (256, 300)) for name in COCO17.names])
        for estimator in ESTIMATORS:
            pose = np.column_stack([truth + random.normal(0, 4, (17, 2)), np.full(17, 0.6)]).round(2)
            lines.append({"ann_id": person["id"], "estimator": estimator, "keypoints": pose.flatten().tolist()})
    lines.append({"ann_id": 90, "estimator": "thunder", "error": "nobody found"})
    category = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}
    document = {"images": images, "annotations": people, "categories": [category]}
    (folder / "person_keypoints.json").write_text(json.dumps(document))
    (folder / "estimates.jsonl").write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tools/photo_data.py writes, with one photograph for the validation."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "faces", COCO17.names, (False, True, False, False))
    write_photos(folder / "bodies", (*COCO17.names[5:], "head_top", "pelvis"), (False,))
    with mock.patch.object(photo_data, "dev_split", lambda count: ["train", "train", "train", "dev"][:count]):
        photo_data.main(folder / "out", [str(folder / "faces"), f"{folder / 'bodies'}*2"])
    return folder / "out"


def test_prepared_photographs(photos: Path) -> None:
    """Without mislabelled people; those without a face have it from two estimators."""
    train, estimates = (json.loads((photos / f"{name}.json").read_text()) for name in ("train", "estimates"))
    assert train["categories"][0]["keypoints"] == list(PHOTO19.names)
    files = {image["id"]: image["file_name"] for image in train["images"]}
    assert len(files) == 4
    assert all((photos / name).is_file() for name in files.values())
    people = train["annotations"]
    assert [files[own["image_id"]] for own in people] == ["faces/0.jpg", "faces/2.jpg", *["bodies/0.jpg"] * 2]
    assert [own["id"] for own in people for _ in ESTIMATORS] == [own["ann_id"] for own in estimates]
    labels = np.array([own["keypoints"] for own in people]).reshape(4, 19, 3)[..., 2] > 0
    face = slice(5)
    assert labels[2:, face].all()
    assert labels[:2, face].sum(axis=1).tolist() == [3, 3]


def photo_words(photos: Path, folder: Path) -> list[str]:
    words = ["+experiment=photo", f"dataset.root={photos}", "model.weights=${asset:photo.safetensors}", "device=cpu"]
    words += ["training.steps=2", "training.batch_size=1", "training.num_workers=0", "training.precision=fp32"]
    return [*words, f"output_dir={folder}"]


def test_the_recipe(photos: Path, tmp_path: Path) -> None:
    """A run that is stopped after a step and resumed has the weights of one that is not."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    printed = succeed("train.py", *photo_words(photos, straight))
    assert "after 2 steps" in printed
    with stopped_after(1):
        succeed("train.py", *photo_words(photos, stopped), status=130)
    succeed("train.py", *photo_words(photos, stopped), "resume=true")
    (one, provenance), (two, _) = (load(folder / "last.safetensors") for folder in (straight, stopped))
    assert (provenance.architecture, provenance.skeleton, provenance.input) == ("photo", "photo19", "gaussians")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    start = load(ASSETS / "photo.safetensors")[0]
    assert not np.array_equal(one["pose_head.out.weight"], start["pose_head.out.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "none.json: no such"),
        ("{", "not valid JSON"),
        ("[{}]", "expected COCO results of 19 keypoints with an ann_id each"),
        ('{"annotations": []}', "expected COCO results of 19 keypoints with an ann_id each"),
        ('[{"ann_id": 1, "keypoints": [1, 2, 0.5]}]', "expected COCO results of 19 keypoints with an ann_id each"),
        ('[{"ann_id": 1, "keypoints": [null, 2, 0.5]}]', "expected COCO results of 19 keypoints with an ann_id each"),
        ('[{"ann_id": [1], "keypoints": []}]', "expected COCO results of 19 keypoints with an ann_id each"),
    ],
)
def test_broken_estimates(content: str | None, message: str, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / ("none.json" if content is None else "in.json")
    if content is not None:
        path.write_text(content)
    found = fail("train.py", *photo_words(photos, tmp_path / "run"), f"dataset.training.estimates=[{path}]")
    assert f"{path}: " in found
    assert message in found
