"""Poses on pictures."""

from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder, read_image
from hpr.poses import Frame
from hpr.report.drawing import draw_poses, save_comparison, save_jpeg, tile
from hpr.skeleton import COCO17, POSETRACK15

GREY = np.full((120, 160, 3), 128, np.uint8)


def pose(**places: tuple[float, float]) -> np.ndarray:
    joints = np.full((1, 15, 2), np.nan)
    for name, place in places.items():
        joints[0, POSETRACK15.index(name)] = place
    return joints


@pytest.mark.parametrize("joints", [np.empty((0, 15, 2)), np.full((2, 15, 2), np.nan)], ids=["nobody", "no joint"])
def test_nothing_to_draw(joints: np.ndarray) -> None:
    assert np.array_equal(draw_poses(GREY, joints, POSETRACK15), GREY)


def test_sides_have_colours() -> None:
    legs = pose(right_knee=(40, 60), right_ankle=(40, 100), left_knee=(80, 60), left_ankle=(80, 100))
    picture = draw_poses(GREY, legs, POSETRACK15)
    right, left = picture[80, 40].astype(int), picture[80, 80].astype(int)
    assert right[0] > right[2]  # orange
    assert left[2] > left[0]  # blue
    assert np.array_equal(picture[:, 120:], GREY[:, 120:])
    assert (GREY == 128).all()  # drawn on a copy


def test_joint_without_a_partner_and_one_far_outside() -> None:
    assert not np.array_equal(draw_poses(GREY, pose(nose=(20, 20)), POSETRACK15), GREY)
    draw_poses(GREY, pose(nose=(20, 20), head_top=(1e12, -1e12)), POSETRACK15)


def test_tile_keeps_the_columns_apart() -> None:
    black, white = np.zeros((50, 100, 3), np.uint8), np.full((50, 100, 3), 200, np.uint8)
    picture = tile([[black, white], [white, black]], ["a", "b"], 200)
    assert picture.shape[1] == 2 * 200 + 4
    assert (picture[60, 100] == 0).all()
    assert (picture[60, 300] == 200).all()
    assert (picture[-20, 300] == 0).all()


def test_faces_have_limbs_of_their_own() -> None:
    joints = np.full((1, 17, 2), np.nan)
    joints[0, COCO17.indices("left_eye", "left_ear")] = [[40, 60], [80, 60]]
    picture = draw_poses(GREY, joints, COCO17)
    assert picture[60, 60, 2] > picture[60, 60, 0]  # blue


def frames(kind: str) -> list[Frame]:
    (sequence,) = PoseTrack18().read(GOLDEN / "posetrack18" / kind / "seq_a.json")
    return sequence.frames


def test_comparison_of_frames(tmp_path: Path) -> None:
    pairs = list(zip(frames("predictions"), frames("refined_map"), strict=True))
    assert save_comparison(pairs, ImageFolder(GOLDEN), tmp_path / "frames.jpg")
    picture = read_image(tmp_path / "frames.jpg").astype(int)
    middle = picture.shape[1] // 2
    left, right = picture[28:, : middle - 2], picture[28:, middle + 2 :]
    assert np.abs(left - right[:, : left.shape[1]]).max() > 50  # the poses differ


def test_no_image_no_comparison(tmp_path: Path) -> None:
    pairs = list(zip(frames("predictions"), frames("predictions"), strict=True))
    assert not save_comparison(pairs, ImageFolder(tmp_path), tmp_path / "frames.jpg")
    assert not save_comparison([], ImageFolder(tmp_path), tmp_path / "frames.jpg")
    assert not (tmp_path / "frames.jpg").exists()


def test_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        save_jpeg(GREY, tmp_path / "file" / "a.jpg")
