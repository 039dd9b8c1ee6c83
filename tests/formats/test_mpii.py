"""Both files of MPII: what is read from them, and how they are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from conftest import GOLDEN
from documents import read, read_document, refusal, rewritten, some_keypoints, with_frame, with_keypoints
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.formats.mpii import Mpii
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import MPII16, POSETRACK18

FORMAT = Mpii()
RECORDS = GOLDEN / "formats" / "mpii" / "records.json"
EMPTY = np.zeros((0, 0))
THORAX, PELVIS, HEAD_TOP, RIGHT_ANKLE = MPII16.indices("thorax", "pelvis", "head_top", "right_ankle")


def structs(*rows: dict[str, Any]) -> NDArray[Any]:
    """An array of MATLAB structs, as the official file has them."""
    array = np.zeros((1, len(rows)), [(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[name][0, i] = value
    return array


def point(keypoint: int, x: float, y: float, is_visible: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "id": float(keypoint), "is_visible": is_visible}


def release(*people: dict[str, Any]) -> dict[str, Any]:
    """A file with people in its first image, nobody in its second, and fields that nobody knows."""
    points = structs(
        point(PELVIS, 610, 187.5, EMPTY), point(THORAX, 647, 176, "1"), point(HEAD_TOP, 606, 217, np.uint8(0))
    )
    posed = {"scale": 3.02, "objpos": structs({"x": 594.0, "y": 257.0}), "annopoints": structs({"point": points})}
    head = {"x1": 627.0, "y1": 100.0, "x2": 706.0, "y2": 198.0}
    unposed = {**posed, **dict.fromkeys(head, EMPTY), "annopoints": EMPTY, "head_r": "odd"}
    listed = people or ({**head, **posed, "head_r": EMPTY}, {key: unposed[key] for key in [*head, *posed, "head_r"]})
    annolist = structs(
        {"image": structs({"name": "015601864.jpg"}), "annorect": structs(*listed), "frame_sec": 11.0, "vididx": 1},
        {"image": structs({"name": "b.jpg"}), "annorect": EMPTY, "frame_sec": EMPTY, "vididx": EMPTY},
    )
    return {"RELEASE": structs({"annolist": annolist, "version": "12"}), "other": np.array([[1.5, 2.5]])}


def listed(**entry: Any) -> dict[str, Any]:
    """A file of one image."""
    return {"RELEASE": structs({"annolist": structs(entry)})}


def saved(path: Path, content: dict[str, Any], is_compressed: bool = True) -> Path:
    scipy.io.savemat(path, content, do_compression=is_compressed)
    return path


class TestRecords:
    def test_joints_without_flags(self, tmp_path: Path) -> None:
        """They are there."""
        record = {"image": "a.jpg", "joints": [[5, 6]] * 16}
        (frame,) = read_document(FORMAT, tmp_path, [record]).frames
        assert frame.flags.tolist() == [[1.0] * 16]

    @pytest.mark.parametrize("corner", [None, "wide", [], 10**400], ids=str)
    def test_a_broken_head_box_counts_as_none(self, corner: Any, tmp_path: Path) -> None:
        document = json.loads(RECORDS.read_text())
        document[1]["x2"] = corner
        assert np.isnan(read_document(FORMAT, tmp_path, document).frames[1].head_boxes).all()

    def test_a_changed_pose(self, tmp_path: Path) -> None:
        """Joints that are the same stay as they were, to the last digit."""
        document = json.loads(RECORDS.read_text())
        document[0]["joints"][5] = [0.1, 281.6248]
        sequence = read_document(FORMAT, tmp_path, document)
        first = with_keypoints(sequence.frames[0], 0, right_hip=(7.5, 8), left_hip=(np.nan, np.nan))
        document[0]["joints"][2:4] = [[8.5, 9], [-1, -1]]
        document[0]["joints_vis"][3] = 0
        third = with_keypoints(sequence.frames[2], 0, left_knee=(1, 2))
        document[3] |= self.pose(left_knee=[2, 3])  # an image of the test set
        new = with_frame(with_frame(sequence, 0, first), 2, third)
        assert rewritten(FORMAT, new, tmp_path / "b.json") == document

    def pose(self, **joints: list[float]) -> dict[str, Any]:
        """The fields of a pose that has some joints."""
        joints = {name: joints.get(name, [-1, -1]) for name in MPII16.names}
        return {"joints": list(joints.values()), "joints_vis": [int(joint != [-1, -1]) for joint in joints.values()]}

    def test_from_scratch(self, tmp_path: Path) -> None:
        """Center and scale are those of the box, or else of the joints."""
        poses = [some_keypoints(POSETRACK18, nose=(1.5, 2), head_top=(3, 4))]
        poses.append(some_keypoints(POSETRACK18, left_hip=(9, 19), head_top=(29, 59)))
        boxes, heads = (np.full((2, 4), np.nan) for _ in range(2))
        boxes[0], heads[1] = [10, 20, 40, 120.5], [0, 1, 2, 3]
        frame = Frame("x/a.jpg", POSETRACK18, np.stack(poses), boxes=boxes, head_boxes=heads)
        sequence = PoseSequence("a", [Frame.empty("n.jpg", POSETRACK18), frame])
        first = {"image": "x/a.jpg", **self.pose(head_top=[4, 5]), "center": [26, 71.25], "scale": 0.5025}
        pose = self.pose(left_hip=[10, 20], head_top=[30, 60])
        second = {"image": "x/a.jpg", **pose, "center": [20, 40], "scale": 0.2, "x1": 1, "y1": 2, "x2": 3, "y2": 4}
        assert rewritten(FORMAT, sequence, tmp_path / "b.json") == [first, second]


class TestOfficialFile:
    @pytest.mark.parametrize("is_compressed", [True, False])
    def test_is_read(self, is_compressed: bool, tmp_path: Path) -> None:
        sequence = read(FORMAT, saved(tmp_path / "a.mat", release(), is_compressed))
        first, second = sequence.frames
        assert (sequence.name, first.image, second.image) == ("a", "015601864.jpg", "b.jpg")
        assert (len(first), len(second)) == (2, 0)
        expected = some_keypoints(MPII16, pelvis=(609, 186.5), thorax=(646, 175), head_top=(605, 216))
        np.testing.assert_array_equal(first.keypoints[0], expected)
        assert np.isfinite(first.keypoints[0, :, 0]).sum() == first.flags[0].sum() == 3  # whatever is_visible says
        np.testing.assert_array_equal(first.head_boxes, [[626, 99, 705, 197], [np.nan] * 4])
        assert first.posed.tolist() == [True, False]
        assert first.records.tolist() == [0, 1]

    def test_one_person_and_one_point(self, tmp_path: Path) -> None:
        """What other programs read as the struct itself, not as a list of one."""
        own = {"annopoints": structs({"point": structs(point(RIGHT_ANKLE, 1, 2, EMPTY))})}
        (frame, _) = read(FORMAT, saved(tmp_path / "a.mat", release(own))).frames
        np.testing.assert_array_equal(frame.keypoints, some_keypoints(MPII16, right_ankle=(0, 1))[None])

    @pytest.mark.parametrize("annopoints", [EMPTY, structs({"point": EMPTY}), structs({"other": 1}), 5.0, "none"])
    def test_people_without_points(self, annopoints: Any, tmp_path: Path) -> None:
        (frame, _) = read(FORMAT, saved(tmp_path / "a.mat", release({"annopoints": annopoints}))).frames
        assert np.isnan(frame.keypoints).all()
        has_list = getattr(annopoints, "dtype", None) == structs({"point": 0}).dtype
        assert frame.posed.tolist() == [has_list]

    @pytest.mark.parametrize("annopoints", [EMPTY, structs({"point": EMPTY})])
    def test_people_without_points_are_ignore_regions(self, annopoints: Any, tmp_path: Path) -> None:
        """Squares of 1.25 times a height of 200 pixels at scale 1."""
        centre = structs({"x": 101.0, "y": 51.0})
        others = {"annopoints": annopoints, "scale": 0.4, "objpos": centre}
        posed = {**others, "annopoints": structs({"point": structs(point(PELVIS, 610, 187.5, EMPTY))})}
        path = saved(tmp_path / "a.mat", release(others, posed, {**others, "scale": EMPTY}))
        first, second = FORMAT.read_annotated(path)[0].frames
        assert [region.tolist() for region in first.ignore_regions] == [[[50, 0], [150, 0], [150, 100], [50, 100]]]
        assert second.ignore_regions == ()

    def test_odd_points(self, tmp_path: Path) -> None:
        points = structs(
            *(point(3, 5, 6, EMPTY), point(3, 50, 60, EMPTY), point(16, 7, 8, EMPTY), point(4, np.nan, 8, EMPTY)),
            *({**point(0, 1, 1, EMPTY), "id": "nose"}, {**point(5, 1, 1, EMPTY), "x": EMPTY}),
        )
        own = {"annopoints": structs({"point": points})}
        (frame, _) = read(FORMAT, saved(tmp_path / "a.mat", release(own))).frames
        expected = some_keypoints(MPII16, left_hip=(4, 5), left_knee=(np.inf, np.inf), left_ankle=(np.inf, np.inf))
        np.testing.assert_array_equal(frame.keypoints[0], expected)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"preds": EMPTY}, "expected the variable RELEASE of MPII's annotations, with annolist; found preds"),
            ({"RELEASE": 5.0}, "expected the variable RELEASE"),
            ({"RELEASE": structs({"version": "12"})}, "expected the variable RELEASE"),
            (listed(image=structs({"name": 5.0})), "(1).image.name: expected a text, found an array of shape (1, 1)"),
            (listed(annorect=EMPTY), "RELEASE.annolist(1).image.name: expected a text, found none"),
        ],
    )
    def test_other_files_are_refused(self, content: dict[str, Any], message: str, tmp_path: Path) -> None:
        assert message in refusal(FORMAT, saved(tmp_path / "a.mat", content))

    def test_no_images(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.mat", {"RELEASE": structs({"annolist": EMPTY})})
        assert read(FORMAT, path).frames == []

    def test_version_7_3(self, tmp_path: Path) -> None:
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(64)
        (tmp_path / "a.mat").write_bytes(header)
        assert "of version 7.3, which is not read; save it in MATLAB with" in refusal(FORMAT, tmp_path / "a.mat")


def read_or_refused(path: Path, cut: int, places: list[tuple[int, int]]) -> str:
    """Breaks a file by cutting it, from a length on, and by other bytes in some places; returns why it is refused."""
    content = bytearray(path.read_bytes())
    for place, value in places:
        content[place % len(content)] = value
    path.write_bytes(content[: cut or None])
    try:
        FORMAT.read(path)
    except UserError as error:
        return str(error)
    return ""


PLACES = st.lists(st.tuples(st.integers(0, 30000), st.integers(0, 255)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(cut=st.just(0) | st.integers(1, 3000), places=PLACES)
def test_damaged_official_files_are_read_or_refused(
    cut: int, places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = saved(tmp_path_factory.mktemp("wild") / "a.mat", release())
    size = path.stat().st_size - 136  # behind the kind and the length of the only variable
    assert "\n" not in read_or_refused(path, cut, [(136 + place % size, value) for place, value in places])


def test_a_mat_file_is_written_as_records(tmp_path: Path) -> None:
    """With everyone in it; only the image without people is in no record."""
    (sequence,) = FORMAT.read(saved(tmp_path / "a.mat", release()))
    assert FORMAT.output_name(tmp_path / "a.mat") == "a.json"
    first = with_keypoints(sequence.frames[0], 0, thorax=(7.5, 8), head_top=(np.nan, np.nan))
    FORMAT.write([with_frame(sequence, 0, first)], tmp_path / "b.json")
    (frame,) = read(FORMAT, tmp_path / "b.json").frames
    assert frame.image == "015601864.jpg"
    expected = some_keypoints(MPII16, pelvis=(609, 186.5), thorax=(7.5, 8))
    np.testing.assert_array_equal(frame.keypoints, [expected, np.full((16, 2), np.nan)])
    np.testing.assert_array_equal(frame.head_boxes, sequence.frames[0].head_boxes)


def test_no_mat_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.mat: .mat files are only read; choose an output that ends in .json"):
        FORMAT.write([PoseSequence("a", [])], tmp_path / "a.mat")
