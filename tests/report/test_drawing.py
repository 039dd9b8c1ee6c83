"""Poses on pictures."""

from typing import Any

import numpy as np
import pytest

from hpr.poses import Frame
from hpr.report.drawing import (
    GAP,
    DrawnPeople,
    Layout,
    draw_change,
    draw_people,
    draw_poses,
    previous_poses,
    resize,
)
from hpr.skeleton import COCO17, POSETRACK15, Skeleton, skeleton_of

GREY = np.full((120, 160, 3), 128, np.uint8)


def pose(**places: tuple[float, float]) -> np.ndarray:
    keypoints = np.full((1, 15, 2), np.nan)
    for name, place in places.items():
        keypoints[0, POSETRACK15.index(name)] = place
    return keypoints


@pytest.mark.parametrize(
    "keypoints", [np.empty((0, 15, 2)), np.full((2, 15, 2), np.nan)], ids=["nobody", "no keypoints"]
)
def test_nothing_to_draw(keypoints: np.ndarray) -> None:
    assert np.array_equal(draw_poses(GREY, keypoints, POSETRACK15), GREY)


def test_sides_have_colours() -> None:
    legs = pose(right_knee=(40, 60), right_ankle=(40, 100), left_knee=(80, 60), left_ankle=(80, 100))
    picture = draw_poses(GREY, legs, POSETRACK15)
    right, left = picture[80, 40].astype(int), picture[80, 80].astype(int)
    assert right[0] > right[2]  # orange
    assert left[2] > left[0]  # blue
    assert np.array_equal(picture[:, 120:], GREY[:, 120:])
    assert (GREY == 128).all()  # drawn on a copy


def test_keypoint_without_a_partner_and_one_far_outside() -> None:
    assert not np.array_equal(draw_poses(GREY, pose(nose=(20, 20)), POSETRACK15), GREY)
    draw_poses(GREY, pose(nose=(20, 20), head_top=(1e12, -1e12)), POSETRACK15)


def frame(pose: np.ndarray, skeleton: Skeleton = POSETRACK15, **fields: Any) -> Frame:
    return Frame("a.jpg", skeleton, pose, **fields)


def coloured(picture: np.ndarray, x: int, y: int) -> str:
    """Returns what is drawn at a place, by its colour."""
    red, green, blue = picture[y, x].astype(int)
    if max(red, green, blue) - min(red, green, blue) < 40:
        return "nothing" if abs(red - 128) < 3 else "outline"
    if red > 150 and blue > 150:
        return "moved"
    return {0: "right", 1: "middle", 2: "left"}[int(np.argmax([red, green, blue]))]


LEG = {"right_knee": (40.0, 60.0), "right_ankle": (40.0, 100.0)}
MOVED = {"right_knee": (40.0, 60.0), "right_ankle": (120.0, 60.0)}


@pytest.mark.parametrize("layout", ["side", "blend", "single"])
def test_nobody_in_every_layout(layout: Layout) -> None:
    nobody = DrawnPeople.from_frame(Frame.empty("a.jpg", POSETRACK15))
    picture = draw_change(GREY[:100], nobody, nobody, layout)
    assert picture.shape == (100, 2 * 160 + GAP if layout == "side" else 160, 3)
    assert (picture[:, :160] == 128).all()
    assert (picture[:, -160:] == 128).all()
    assert np.array_equal(draw_change(GREY, nobody, None, layout), GREY)


def test_titles_where_there_is_room() -> None:
    somewhere = DrawnPeople.from_frame(frame(pose(nose=(1e6, 20)), track_ids=(1,)))  # out of sight
    picture = draw_change(np.full((360, 640, 3), 128, np.uint8), somewhere, somewhere, "side")
    assert picture[:40, :120].max() == picture[:40, 644:764].max() == 255
    assert (picture[40:, :640] == 128).all()


@pytest.mark.parametrize(
    ("layout", "shift", "limb", "former", "way"),
    [
        ("side", 160 + GAP, "right", "nothing", "moved"),
        ("blend", 0, "right", "right", "moved"),
        ("single", 0, "right", "nothing", "nothing"),
    ],
)
def test_layouts(layout: Layout, shift: int, limb: str, former: str, way: str) -> None:
    before, after = frame(pose(**LEG)), frame(pose(**MOVED))
    picture = draw_change(GREY, DrawnPeople.from_frame(before), DrawnPeople.from_frame(after, before), layout)
    assert coloured(picture, shift + 90, 60) == limb
    assert coloured(picture, shift + 40, 80) == former
    assert coloured(picture, shift + 80, 80) == way
    if layout == "side":
        assert coloured(picture, 40, 80) == "right"
        assert coloured(picture, 90, 60) == "nothing"
        assert coloured(picture, 80, 80) == "nothing"


def test_what_moved_little_has_no_line() -> None:
    before, after = frame(pose(nose=(60, 60))), frame(pose(nose=(62, 61)))
    with_line = draw_people(GREY, DrawnPeople.from_frame(after, before))
    assert np.array_equal(with_line, draw_people(GREY, DrawnPeople.from_frame(after)))


def test_size_says_the_score() -> None:
    sizes = []
    for score in (0.0, 0.5, np.nan, 1.0, 7.0):
        own = frame(pose(nose=(60, 60)), scores=np.full((1, 15), score))
        sizes.append((draw_people(GREY, DrawnPeople.from_frame(own)) != 128).sum())
    assert sizes[0] < sizes[1] == sizes[2] < sizes[3] == sizes[4]


@pytest.mark.parametrize("place", [(80.0, 80.0), (1.0, 1.0), (159.0, 119.0)], ids=["middle", "corner", "other corner"])
def test_track_ids_are_written(place: tuple[float, float]) -> None:
    without = draw_people(GREY, DrawnPeople.from_frame(frame(pose(nose=place))))
    written = {
        track_id: draw_people(GREY, DrawnPeople.from_frame(frame(pose(nose=place), track_ids=(track_id,))))
        for track_id in (1, 2, "someone with a long name", "ä")
    }
    pictures = [without, *written.values()]
    assert all((one != other).any() for i, one in enumerate(pictures) for other in pictures[:i])


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (100, 100), (1080, 1920)], ids=str)
def test_any_size_of_image(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    places = np.random.default_rng(0).random((3, 17, 2)) * size[::-1]
    places[0, :5] = np.nan
    before = frame(places, COCO17, track_ids=(1, "a", None))
    after = frame(places + size[0] / 4, COCO17, track_ids=before.track_ids)
    picture = draw_change(image, DrawnPeople.from_frame(before), DrawnPeople.from_frame(after, before), "side")
    assert (picture[:, : size[1]] != 128).any()
    assert (picture[:, -size[1] :] != 128).any()


def test_limbs_to_far_outside() -> None:
    """Within a large image the limb leads where the keypoint is."""
    image = np.full((40, 30_000, 3), 128, np.uint8)
    picture = draw_poses(image, pose(right_knee=(100, 20), right_ankle=(40_000, 20)), POSETRACK15)
    assert coloured(picture, 29_000, 20) == "right"


def test_keypoints_of_a_skeleton_without_limbs() -> None:
    own = skeleton_of(["left_paw", "tail"])
    picture = draw_poses(GREY, np.array([[[40.0, 60.0], [100.0, 60.0]]]), own)
    assert [coloured(picture, x, 60) for x in (40, 70, 100)] == ["left", "nothing", "middle"]


def people(*xs: float, skeleton: Skeleton = POSETRACK15, **fields: Any) -> Frame:
    """Returns a frame of people with a nose each; NaN for someone without any keypoint."""
    poses = np.full((len(xs), len(skeleton), 2), np.nan)
    poses[:, skeleton.index("nose")] = np.reshape(xs, (-1, 1))
    return Frame("a.jpg", skeleton, poses, **fields)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (people(), people(), []),
        (people(), people(1), [np.nan]),
        (people(1, 2), people(3, 4), [1, 2]),
        (people(1, np.nan, 2), people(3, 4), [1, 2]),
        (people(1, np.nan, 2), people(3), [np.nan]),
        (people(1, 2, track_ids=(7, 8)), people(3, 4, 5, track_ids=(8, 9, 7)), [2, np.nan, 1]),
        (people(1, 2, track_ids=(7, 7)), people(3, 4, track_ids=(7, 7)), [1, 2]),
        (people(1, 2, skeleton=COCO17), people(3, 4), [1, 2]),
    ],
    ids=["nobody", "new", "order", "left out", "unknown", "track ids", "not identities", "another skeleton"],
)
def test_who_was_where(before: Frame, after: Frame, expected: list[float]) -> None:
    places = previous_poses(before, after)
    assert places.shape == after.keypoints.shape
    np.testing.assert_array_equal(places[:, after.skeleton.index("nose"), 0], expected)


@pytest.mark.parametrize("factor", [1.0, 0.25, 3.0])
def test_people_follow_their_image(factor: float) -> None:
    image = GREY.copy()
    image[50:70, 30:50] = 255  # its middle is (39.5, 59.5)
    larger, scale, shift = resize(image, factor)
    assert larger.shape == (120 * factor, 160 * factor, 3)
    own = DrawnPeople.from_frame(frame(pose(nose=(39.5, 59.5)))).scaled(scale, shift)
    ys, xs = np.nonzero(larger[..., 0] > 190)
    np.testing.assert_allclose(own.poses[0, POSETRACK15.index("nose")], [xs.mean(), ys.mean()], atol=0.01)
