"""What a program may give for an image and for poses."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from hpr.errors import UserError
from hpr.refine.inputs import as_frame, as_image, is_single
from hpr.skeleton import COCO17

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
        *(np.full((4, 4), np.nan), RGB.astype(np.uint16), RGB[0, 0], RGB > 3, None, {}),
    ],
    ids=range(11),
)
def test_other_images_are_refused_in_one_line(image: Any) -> None:
    with pytest.raises(ValueError, match=r"^image: expected uint8 \(H, W, 3\).*; found [^\n]*$"):
        as_image(image)


@pytest.mark.parametrize("shape", [(0,), (0, 17), (0, 17, 2), (0, 17, 3), (0, 0, 2), (1, 0, 2), (1, 0, 51)], ids=str)
@pytest.mark.parametrize("kind", [np.array, list, torch.as_tensor])
def test_nobody(shape: tuple[int, ...], kind: Any) -> None:
    some: list[Any] = [None, [], np.zeros((0, 17))]
    for scores in some:
        frame = as_frame(kind(np.zeros(shape)), scores, COCO17)
        assert (len(frame), frame.keypoints.shape) == (0, (0, 17, 2))


@pytest.mark.parametrize(
    ("shape", "hint"), [((17, 2), r"keypoints\[None\]"), ((1, 17, 3), "into scores"), ((1, 15, 2), r"\(1, 15, 2\)$")]
)
def test_other_shapes(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ValueError, match=rf"keypoints: expected shape \(N, 17, 2\), found .*{hint}"):
        as_frame(np.zeros(shape), None, COCO17)


def test_tensors_of_people() -> None:
    frame = as_frame(torch.ones(2, 17, 2, requires_grad=True), torch.ones(2, 17), COCO17)
    assert (frame.keypoints.sum(), frame.scores.sum()) == (68, 34)
