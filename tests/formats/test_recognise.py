"""Finding files of poses and telling their format."""

import json
from pathlib import Path

import pytest
from conftest import GOLDEN, POSETRACK
from documents import document17, document18, point, written

from hpr.errors import UserError
from hpr.formats import FORMATS, pose_files, recognise
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17


@pytest.mark.parametrize("name", POSETRACK)
@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_golden_files(name: str, clip: str) -> None:
    assert recognise(GOLDEN / name / "predictions" / f"{clip}.json") == name


@pytest.mark.parametrize(
    ("document", "name"),
    [
        pytest.param({"images": [], "annotations": []}, "posetrack18", id="empty posetrack18"),
        pytest.param({"annolist": []}, "posetrack17", id="empty posetrack17"),
        pytest.param(document18(), "posetrack18", id="posetrack18"),
        pytest.param(document17([point(0, 1, 2)]), "posetrack17", id="posetrack17"),
    ],
)
def test_documents(document: object, name: str, tmp_path: Path) -> None:
    assert recognise(written(tmp_path / "a.json", document)) == name


@pytest.mark.parametrize("name", POSETRACK)
def test_what_the_writers_write(name: str, tmp_path: Path) -> None:
    POSETRACK[name].write([PoseSequence("a", [Frame.empty("a.jpg", COCO17)])], tmp_path / "a.json")
    assert recognise(tmp_path / "a.json") == name


@pytest.mark.parametrize(
    "document",
    [[], {}, None, 5, "images annotations", ["images", "annotations"], {"images": []}, [{"image_id": 1}]],
    ids=json.dumps,
)
def test_something_else(document: object, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", document)
    with pytest.raises(UserError) as error:
        recognise(path)
    assert str(error.value).startswith(f"{path}: expected a file of one of these formats, found none of them (")
    assert all(f"{name}: " in str(error.value) for name in FORMATS)


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("keypoints: none\n")
    with pytest.raises(UserError, match=r"a.json: not valid JSON at line 1, column 1"):
        recognise(tmp_path / "a.json")


def test_a_name_too_long_for_the_system(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aaa: cannot be read \(File name too long\)"):
        recognise(tmp_path / ("a" * 400))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.json: no such file"):
        recognise(tmp_path / "a.json")


class TestPoseFiles:
    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as error:
            pose_files(tmp_path)
        assert str(error.value) == f"{tmp_path}: expected .json files in it, found none in 0 entries"

    def test_other_files_alone(self, tmp_path: Path) -> None:
        for name in ("a.txt", "b.JSON", "c.json.bak"):
            (tmp_path / name).touch()
        with pytest.raises(UserError, match="found none in 3 entries"):
            pose_files(tmp_path)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as error:
            pose_files(tmp_path / "no" / "where")
        expected = "no such file or folder; expected a folder of .json files, or one such file"
        assert str(error.value) == f"{tmp_path}/no/where: {expected}"

    def test_a_folder_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name in ("b.json", "a.txt", "c.json", "a.json", "10.json"):
            (tmp_path / name).touch()
        assert [path.name for path in pose_files(tmp_path)] == ["10.json", "a.json", "b.json", "c.json"]

    def test_one_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").touch()
        assert pose_files(tmp_path / "a.txt") == [tmp_path / "a.txt"]
