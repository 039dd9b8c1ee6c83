"""Poses on pictures."""

import itertools
from typing import Any

import cv2
import numpy as np
import pytest

from hpr.poses import Frame
from hpr.report.canvas import resize
from hpr.report.drawing import (
    GAP,
    SIDE_COLOURS,
    Colouring,
    DrawnPeople,
    Layout,
    Style,
    draw_change,
    draw_people,
    draw_poses,
    previous_poses,
)
from hpr.skeleton import COCO17, POSETRACK15, Skeleton, skeleton_of

GREY = np.full((120, 160, 3), 128, np.uint8)


def pose(**places: tuple[float, float]) -> np.ndarray:
    keypoints = np.full((1, 15, 2), np.nan)
    for name, place in places.items():
        keypoints[0, POSETRACK15.index(name)] = place
    return keypoints


def frame(pose: np.ndarray, skeleton: Skeleton = POSETRACK15, **fields: Any) -> Frame:
    return Frame("a.jpg", skeleton, pose, **fields)


def coloured(picture: np.ndarray, x: int, y: int) -> str:
    """Returns what is drawn at a place, by its colour."""
    red, green, blue = picture[y, x].astype(int)
    if max(red, green, blue) - min(red, green, blue) < 40:
        return "nothing" if abs(red - 128) < 3 else "middle" if red > 150 else "outline"
    if green < 70:
        return "moved"
    return "right" if red > blue else "left"


@pytest.mark.parametrize(
    "keypoints", [np.empty((0, 15, 2)), np.full((2, 15, 2), np.nan)], ids=["nobody", "no keypoints"]
)
def test_nothing_to_draw(keypoints: np.ndarray) -> None:
    assert np.array_equal(draw_poses(GREY, keypoints, POSETRACK15), GREY)


def test_sides_have_colours() -> None:
    legs = pose(right_knee=(40, 60), right_ankle=(40, 100), left_knee=(80, 60), left_ankle=(80, 100))
    picture = draw_poses(GREY, legs, POSETRACK15)
    assert [coloured(picture, x, 80) for x in (40, 80)] == ["right", "left"]
    assert np.array_equal(picture[:, 120:], GREY[:, 120:])
    assert (GREY == 128).all()  # drawn on a copy


def test_keypoint_without_a_partner_and_one_far_outside() -> None:
    assert not np.array_equal(draw_poses(GREY, pose(nose=(20, 20)), POSETRACK15), GREY)
    draw_poses(GREY, pose(nose=(20, 20), head_top=(1e12, -1e12)), POSETRACK15)


LEG = {"right_knee": (40.0, 60.0), "right_ankle": (40.0, 100.0)}
MOVED = {"right_knee": (40.0, 60.0), "right_ankle": (120.0, 60.0)}


@pytest.mark.parametrize("layout", ["side", "blend", "single"])
def test_nobody_in_every_layout(layout: Layout) -> None:
    nobody = DrawnPeople.from_frame(Frame.empty("a.jpg", POSETRACK15))
    picture = draw_change(GREY[:100], nobody, nobody, Style(layout))
    assert picture.shape == (100, 2 * 160 + GAP if layout == "side" else 160, 3)
    assert (picture[:, :160] == 128).all()
    assert (picture[:, -160:] == 128).all()
    assert np.array_equal(draw_change(GREY, nobody, None, Style(layout)), GREY)


def test_titles_where_there_is_room() -> None:
    somewhere = DrawnPeople.from_frame(frame(pose(nose=(1e6, 20)), track_ids=(1,)))  # out of sight
    picture = draw_change(np.full((360, 640, 3), 128, np.uint8), somewhere, somewhere)
    assert picture[:40, :120].max() == picture[:40, 644:764].max() == 255
    assert (picture[40:, :640] == 128).all()  # the legend is in the right one


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
    picture = draw_change(GREY, DrawnPeople.from_frame(before), DrawnPeople.from_frame(after, before), Style(layout))
    assert coloured(picture, shift + 90, 60) == limb
    assert coloured(picture, shift + 40, 80) == former
    assert coloured(picture, shift + 80, 80) == way
    if layout == "side":
        assert coloured(picture, 40, 80) == "right"
        assert coloured(picture, 90, 60) == "nothing"
        assert coloured(picture, 80, 80) == "nothing"


def test_what_moved_little_has_no_line() -> None:
    """Less than a twentieth of a head, which is 61 pixels where nothing says how large the person is."""
    still = draw_people(GREY, DrawnPeople.from_frame(frame(pose(nose=(60, 60)))))
    for x, is_drawn in ((62, False), (66, True)):
        before, after = frame(pose(nose=(x, 60))), frame(pose(nose=(60, 60)))
        with_line = draw_people(GREY, DrawnPeople.from_frame(after, before))
        assert np.array_equal(with_line, still) != is_drawn


def test_low_scores_are_pale() -> None:
    strength = []
    for score in (0.2, 0.3, 0.6, 0.9, np.nan, 7.0):
        picture = draw_poses(GREY, pose(left_ankle=(60, 60)), POSETRACK15, np.full((1, 15), score))
        strength.append(int(picture[60, 60, 2]))
    assert 150 < strength[0] < strength[1] < strength[2] < strength[3] == strength[4] == strength[5] == 255


def test_a_limb_is_as_pale_as_its_paler_end() -> None:
    scores = np.full((1, 15), 0.9)
    scores[0, POSETRACK15.index("left_ankle")] = 0.3
    picture = draw_poses(GREY, pose(left_knee=(60, 20), left_ankle=(60, 100)), POSETRACK15, scores)
    blues = [int(picture[y, 60, 2]) for y in (20, 60, 100)]
    assert blues[0] == 255 > blues[1] == blues[2] > 150


@pytest.mark.parametrize(("min_score", "expected"), [(None, False), (0.0, True), (0.15, False), (0.14, True)])
def test_scores_below_the_minimum_are_not_drawn(min_score: float | None, expected: bool) -> None:
    """The limb to the keypoint is not drawn either, nor a movement from or to it; without a score it is drawn."""
    options = {} if min_score is None else {"min_score": min_score}
    scores = np.full((1, 15), np.nan)
    scores[0, POSETRACK15.index("right_ankle")] = 0.145
    picture = draw_poses(GREY, pose(**LEG), POSETRACK15, scores, **options)
    assert [coloured(picture, 40, y) != "nothing" for y in (60, 80, 100)] == [True, expected, expected]

    before, after = frame(pose(**LEG), scores=scores), frame(pose(**MOVED))
    drawn = draw_people(GREY, DrawnPeople.from_frame(after, before, **options))
    assert (coloured(drawn, 80, 80) == "moved") == expected


@pytest.mark.parametrize("layout", ["side", "blend"])
def test_limbs_are_as_thick_as_suits_the_person(layout: Layout) -> None:
    """Not by what is visible: of a large person a forearm alone is as thick as in the whole pose."""
    image = np.full((1200, 2000, 3), 128, np.uint8)
    whole = np.random.default_rng(0).uniform(0, 1, (1, 15, 2))
    box = np.array([[100.0, 100, 500, 1100]])
    arm = pose(left_elbow=(200, 300), left_wrist=(200, 340))
    widths = {}
    for name, own in (
        ("arm in a large box", frame(arm, boxes=box)),
        ("arm in a small box", frame(arm, boxes=box / 4)),
        ("arm of a large person", frame(np.where(np.isnan(arm), 100 + whole * [400, 1000], arm), boxes=box)),
    ):
        people = DrawnPeople.from_frame(own)
        limbs = draw_change(image, people, people, Style(layout))[320, -2000:]
        widths[name] = int((limbs[150:250] != 128).any(axis=1).sum())
    assert widths["arm in a large box"] > 1.5 * widths["arm in a small box"]
    assert widths["arm of a large person"] >= widths["arm in a large box"] - 2


# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", VISION)
def test_everybody_can_tell_the_colours_apart(vision: str) -> None:
    """By CIE76, the Euclidean distance in Lab."""
    encoded = np.array([*SIDE_COLOURS.values()]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISION[vision]).T, 0, 1).astype(np.float32)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_LRGB2Lab)[0]
    assert len(lab) == 4
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) >= 30


def test_a_legend_where_there_is_room() -> None:
    nobody = DrawnPeople.from_frame(Frame.empty("a.jpg", POSETRACK15))
    image = np.full((360, 640, 3), 128, np.uint8)

    def colours_of(picture: np.ndarray) -> set[str]:
        return {name for name, colour in SIDE_COLOURS.items() if (picture[320:] == colour).all(axis=-1).any()}

    assert colours_of(draw_change(image, nobody, nobody, Style("blend"))) == {"right", "left", "middle", "moved"}
    assert colours_of(draw_change(image, nobody, None)) == {"right", "left", "middle"}
    assert colours_of(draw_change(image, nobody, nobody, Style("blend", "person"))) == set()


@pytest.mark.parametrize(
    ("colour", "track_ids", "expected"),
    [
        ("side", (1, 1), (2, False)),  # left and right, alike in both
        ("person", (1, 1), (2, True)),
        ("track", (1, 1), (1, False)),
        ("track", (1, 2), (2, True)),
        ("track", ("a", "c"), (2, True)),
        ("track", ("a", "a"), (1, False)),
        ("track", (None, None), (2, True)),
    ],
)
def test_what_has_a_colour(colour: Colouring, track_ids: tuple[Any, ...], expected: tuple[int, bool]) -> None:
    both = np.concatenate([pose(left_knee=(x, 60), right_ankle=(x, 100)) for x in (40, 100)])
    own = frame(both, track_ids=track_ids)
    picture = draw_people(GREY, DrawnPeople.from_frame(own), Style(colour=colour))
    seen = [[tuple(picture[y, x].tolist()) for y in (60, 100)] for x in (40, 100)]
    assert (len({*seen[0], *seen[1]}), seen[0] != seen[1]) == expected


def test_boxes_and_names_on_request() -> None:
    box = np.array([[20.0, 20, 140, 110]])
    people = DrawnPeople.from_frame(frame(pose(nose=(80, 60)), boxes=box))
    plain, boxed, named = (
        draw_people(GREY, people, style) for style in (Style(), Style(boxes=True), Style(names=True))
    )
    assert (plain[20:111, 20] == 128).all()
    assert (boxed[20:111, 20] != 128).any(axis=-1).all()
    assert (plain[:, 90:] == 128).all()
    assert (named[50:70, 90:120] != 128).any()
    assert np.array_equal(named[:, :70], plain[:, :70])
    outside = DrawnPeople.from_frame(frame(pose(nose=(-9, 60)), boxes=box * np.nan))
    assert np.array_equal(draw_people(GREY, outside, Style(boxes=True, names=True)), draw_people(GREY, outside))


def test_a_skeleton_by_name_and_wrong_shapes() -> None:
    keypoints = np.full((1, 17, 2), 50.0)
    assert np.array_equal(draw_poses(GREY, keypoints, "coco17"), draw_poses(GREY, keypoints, COCO17))
    for wrong in (keypoints[0], keypoints[:, :15], np.full((1, 17, 3), 50.0)):
        with pytest.raises(ValueError, match="keypoints of shape"):
            draw_poses(GREY, wrong, "coco17")
    with pytest.raises(ValueError, match=r"expected scores of shape \(1, 17\)"):
        draw_poses(GREY, keypoints, "coco17", np.ones(17))


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
    picture = draw_change(image, DrawnPeople.from_frame(before), DrawnPeople.from_frame(after, before))
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
