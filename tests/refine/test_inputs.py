"""What a program may give for an image and for poses."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from hpr.errors import UserError
from hpr.poses import Frame
from hpr.refine.inputs import as_frame, as_frames, as_image, is_single
from hpr.skeleton import COCO17, MPII16

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=2)

IMAGES: list[tuple[Any, Any]] = [
    (RGB, RGB),
    (RGB[..., ::-1][..., ::-1], RGB),
    (GREY[..., 0], GREY),
    (GREY[..., :1], GREY),
    (np.dstack([RGB, RGB[..., 0]]), RGB),
    (RGB / 255, RGB),
    ((RGB / 255).astype(np.float16), RGB),
    (torch.from_numpy(RGB), RGB),
    (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
    (torch.from_numpy(RGB).permute(2, 0, 1).float() / 255, RGB),
    (torch.from_numpy(GREY[..., 0])[None], GREY),
    (torch.ones(3, 5, 7, dtype=torch.bfloat16, requires_grad=True), np.full((5, 7, 3), 255)),
    (PIL.Image.fromarray(RGB), RGB),
    (PIL.Image.fromarray(GREY[..., 0]), GREY),
    (PIL.Image.fromarray(RGB).convert("RGBA"), RGB),
]


@pytest.mark.parametrize(("image", "expected"), IMAGES, ids=range(len(IMAGES)))
def test_images(image: Any, expected: Any) -> None:
    found = as_image(image)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1 if getattr(image, "dtype", None) == np.float16 else 0)
    assert is_single(image)
    assert not is_single([image])


def test_paths(tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert is_single(path)
        np.testing.assert_array_equal(as_image(path), RGB)
    with pytest.raises(UserError, match="no such image"):
        as_image(tmp_path / "b.png")


@pytest.mark.parametrize(
    "image",
    [
        *(RGB * 1.0, RGB.astype(np.int64), RGB[..., :2], RGB.transpose(2, 0, 1), RGB / 255 - 1),
        *(np.full((4, 4), np.nan), RGB.astype(np.uint16), RGB[0, 0], RGB > 3, None, {}, 5, b"a.jpg"),
        PIL.Image.fromarray(RGB[..., 0].astype(np.uint16)),
    ],
    ids=range(14),
)
def test_other_images_are_refused_in_one_line(image: Any) -> None:
    assert is_single(image)
    values = " with values from" if isinstance(image, np.ndarray) and image.dtype.kind == "f" else ""
    found = f"{image.dtype} of shape .*{values}" if isinstance(image, np.ndarray) else ""
    with pytest.raises(ValueError, match=rf"^image: expected uint8 \(H, W, 3\).*; found {found}[^\n]*$"):
        as_image(image)


def frame_of(keypoints: Any, **people: Any) -> Frame:
    """Returns the people of a picture of 200 x 100 pixels."""
    return as_frame("a.jpg", np.zeros((100, 200, 3), np.uint8), COCO17, keypoints, **people)


def poses(count: int = 2) -> Any:
    return np.random.default_rng(1).uniform(5, 95, (count, 17, 2)).astype(np.float32)


def test_a_turned_photograph(tmp_path: Path) -> None:
    """As OpenCV reads it, whose coordinates estimators have."""
    picture, exif = PIL.Image.fromarray(RGB), PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(as_image(tmp_path / "a.png"), np.rot90(RGB, -1))


@pytest.mark.parametrize("shape", [(0,), (0, 17), (0, 17, 2), (0, 17, 3), (0, 0, 2), (1, 0, 2), (1, 0, 51)], ids=str)
@pytest.mark.parametrize("kind", [np.array, list, torch.as_tensor])
def test_nobody(shape: tuple[int, ...], kind: Any) -> None:
    some: list[Any] = [None, [], np.zeros((0, 17))]
    for scores in some:
        frame = frame_of(kind(np.zeros(shape)), scores=scores)
        assert (len(frame), frame.keypoints.shape) == (0, (0, 17, 2))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((17, 2), r"keypoints\[None\]$"),
        ((1, 17, 3), "into scores$"),
        ((1, 15, 2), "say what they are by skeleton='posetrack15' or 'mpi15'$"),
        ((1, 12, 2), r"\(1, 12, 2\)$"),
    ],
)
def test_other_shapes(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ValueError, match=rf"^keypoints: expected shape \(N, 17, 2\), found .*{hint}"):
        frame_of(np.ones(shape))


def test_tensors_of_people() -> None:
    frame = frame_of(torch.full((2, 17, 2), 3.0, requires_grad=True), scores=torch.ones(2, 17))
    assert (frame.keypoints.sum(), frame.scores.sum()) == (3 * 68, 34)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64, list, torch.as_tensor])
def test_numbers_of_any_type(kind: Any) -> None:
    """None in lists is missing, as NaN is; what was given stays as it was."""
    given: Any = poses().round()
    given = given.astype(kind) if isinstance(kind, type) and issubclass(kind, np.generic) else kind(given.tolist())
    frame = frame_of(given, scores=[[0.5] * 17] * 2, boxes=[[1, 2, 30, 40], [None] * 4], person_scores=[0.9, None])
    np.testing.assert_array_equal(frame.keypoints, np.asarray(given))
    np.testing.assert_array_equal(frame.boxes, [[1, 2, 30, 40], [np.nan] * 4])
    np.testing.assert_array_equal(frame.person_scores, [0.9, np.nan])
    assert (frame.scores == 0.5).all()
    assert frame.size == (200, 100)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keypoints", None, "expected an array of numbers, found NoneType"),
        ("keypoints", "poses.json", "expected an array of numbers, found str"),
        ("keypoints", {"keypoints": []}, "expected an array of numbers, found dict"),
        ("keypoints", [[[1, 2]], [[1, 2], [3, 4]]], "expected an array of numbers, found list"),
        ("scores", np.ones((2, 16)), r"expected shape \(2, 17\), found \(2, 16\)"),
        ("scores", 0.5, r"expected shape \(2, 17\), found \(\)"),
        ("boxes", np.ones((2, 5)), r"expected shape \(2, 4\), found \(2, 5\)"),
        (
            "boxes",
            [[1, 2, 30, 40], [50, 60, 20, 70]],
            r"expected x0, y0, x1, y1, found \[50.0, 60.0, 20.0, 70.0\]; x, y, w",
        ),
        ("person_scores", [0.5], r"expected shape \(2,\), found \(1,\)"),
    ],
)
def test_wrong_arguments(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: {message}[^\n]*$"):
        frame_of(**{"keypoints": poses(), name: value})


class TestMissing:
    def test_the_corner_is_refused(self) -> None:
        given = poses()
        given[1, 3:5] = 0
        given[0, 0, 0] = 0  # on the border
        with pytest.raises(ValueError, match=r"^keypoints: 2 of 34 are at \(0, 0\); if .* NaN: (.*)$") as caught:
            frame_of(given, scores=np.full((2, 17), 0.3))
        exec(str(caught.value).partition("NaN: ")[2], {"keypoints": given})
        assert np.isnan(frame_of(given).keypoints).sum() == 4

    def test_the_corner_with_a_score_of_zero_is_missing(self) -> None:
        given, scores = poses(), np.full((2, 17), 0.3)
        given[1, 3:5], scores[1, 3:5], scores[0, 1] = 0, 0, 0
        expected = given.copy()
        expected[1, 3:5] = np.nan
        np.testing.assert_array_equal(frame_of(given, scores=scores).keypoints, expected)

    def test_what_is_not_finite(self) -> None:
        given = poses()
        given[0, 0, 1], given[0, 1] = np.nan, np.inf
        assert np.isnan(frame_of(given).keypoints[0, :2]).all()
        assert len(frame_of(given * np.nan)) == 2


def test_shares_of_the_size() -> None:
    given = poses() / [200, 100]
    given[0, 0] = np.nan
    given[0, 1] = -0.02, 1.03  # a little outside
    expected = r"expected pixels of an image of 200 x 100, found -0.02 to 1.03; .* multiply by \(200, 100\)"
    with pytest.raises(ValueError, match=rf"^keypoints: {expected}$"):
        frame_of(given)
    given[1, 1] = 2, 3  # pixels of somebody in the corner
    assert len(frame_of(given)) == 2


class TestSeveralImages:
    def test_one_item_each(self) -> None:
        images, frames = as_frames([RGB, RGB], COCO17, keypoints=[poses(1), []], scores=[None, None], boxes=None)
        assert len(images) == 2
        assert [len(frame) for frame in frames] == [1, 0]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"keypoints": [poses()]}, r"keypoints: expected an array for each of the 2 images, found 1"),
            ({"scores": [None]}, r"scores: expected an array for each of the 2 images, found 1"),
            ({"scores": 0.5}, r"scores: expected a list with an array for each image, found float"),
            ({"keypoints": [poses(), poses()[..., 0]]}, r"keypoints\[1\]: expected shape .*"),
            ({"image": [RGB, RGB * 1.0]}, r"image\[1\]: expected uint8 .*"),
        ],
    )
    def test_wrong_items(self, arguments: dict[str, Any], message: str) -> None:
        given: dict[str, Any] = {"image": [RGB, RGB], "keypoints": [poses(), poses()], "scores": None, **arguments}
        with pytest.raises(ValueError, match=rf"^{message}$"):
            as_frames(given.pop("image"), COCO17, **given)


@pytest.mark.parametrize("skeleton", [17, ["nose", 3], {1: 2}])
def test_wrong_skeletons(skeleton: Any) -> None:
    with pytest.raises(
        ValueError, match=r"skeleton: expected a Skeleton, a name, or names of keypoints; found [^\n]*$"
    ):
        as_frames(RGB, skeleton, keypoints=poses())


def test_names_of_images(tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png")
    given: list[Any] = [tmp_path / "a.png", str(tmp_path / "a.png"), PIL.Image.open(tmp_path / "a.png"), RGB]
    _, frames = as_frames(given, MPII16, keypoints=[[]] * 4)
    assert [frame.image for frame in frames] == ["a.png", "a.png", "a.png", ""]
