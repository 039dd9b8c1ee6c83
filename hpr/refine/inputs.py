"""What a program may give the refiner for images and poses, and what the refiner makes of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from hpr.images import Image, read_header, read_image
from hpr.poses import FloatArray, Frame
from hpr.skeleton import SKELETONS, Skeleton, SkeletonLike, skeleton_of

AnyImage = NDArray[Any] | torch.Tensor | PIL.Image.Image | Path | str
"""An image as an array, a tensor, a picture of Pillow or a path."""

Numbers = NDArray[Any] | torch.Tensor | Sequence[Any]
"""An array of any type of numbers, a tensor on any device, or nested lists."""

_EXPECTED = "expected uint8 (H, W, 3), (H, W) or (H, W, 4), floats from 0 to 1, a Pillow picture, or a path"

_RELATIVE = (-0.5, 1.5)
"""Coordinates that are all between these are shares of the image's size: nobody is two pixels large."""


def as_frames(
    image: AnyImage | Sequence[AnyImage], skeleton: SkeletonLike, **people: Any
) -> tuple[list[Image], list[Frame]]:
    """Returns images (H, W, 3) uint8 RGB, and for each a frame with its people.

    Args:
        image: One image, or several.
        skeleton: Skeleton of the keypoints.
        **people: Arguments of `as_frame`; for several images, lists with one item for each.

    Raises:
        UserError: There is no skeleton of that name, or no image at a path.
        ValueError: An argument has a wrong shape or type.
    """
    names = skeleton.names if isinstance(skeleton, Skeleton) else skeleton
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"skeleton: expected a Skeleton, a name, or names of keypoints; found {skeleton!r}")
    own = skeleton_of(skeleton)
    if is_single(image):
        return [pixels := as_image(image)], [as_frame(_name(image), pixels, own, **people)]

    given: list[Any] = list(image)  # type: ignore[arg-type]  # is_single has told them apart
    images = [as_image(one, f"image[{index}]") for index, one in enumerate(given)]
    lists: dict[str, list[Any]] = {}
    for name, values in people.items():
        try:
            lists[name] = [None] * len(images) if values is None and name != "keypoints" else list(values)
        except TypeError:
            raise ValueError(f"{name}: expected a list with an array for each image, found {_type(values)}") from None
        if len(lists[name]) != len(images):
            expected = f"expected an array for each of the {len(images)} images"
            raise ValueError(f"{name}: {expected}, found {len(lists[name])}")

    frames = []
    for index, (one, pixels) in enumerate(zip(given, images, strict=True)):
        own_people = {name: values[index] for name, values in lists.items()}
        frames.append(as_frame(_name(one), pixels, own, **own_people, where=f"[{index}]"))
    return images, frames


def is_single(image: Any) -> bool:
    """Returns whether an argument is one image rather than several."""
    if isinstance(image, str | bytes | Path | dict) or not hasattr(image, "__iter__"):
        return True
    return hasattr(image, "size") and getattr(image, "ndim", 3) < 4


def as_image(value: Any, name: str = "image") -> Image:
    """Returns an image (H, W, 3) uint8 RGB of an array, a tensor (C, H, W) or (H, W, C), a Pillow picture or a path.

    Grey images are repeated, a fourth channel is left out; floats are from 0 to 1. A photograph at a path is turned as
    its EXIF orientation says, as OpenCV reads it; a Pillow picture is as its pixels are.

    Args:
        value: The image.
        name: What messages call it.

    Raises:
        UserError: A path names no image that can be read.
        ValueError: It is something else.
    """
    if isinstance(value, str | Path):
        return read_image(Path(value), orientation=read_header(Path(value))[1])
    if isinstance(value, PIL.Image.Image) and value.mode[0] not in "IF":  # those Pillow would cut off at 255
        value = value.convert("RGB")
    try:
        pixels = as_array(value)
    except (TypeError, ValueError):  # lists of different lengths, for example
        raise ValueError(f"{name}: {_EXPECTED}; found {_type(value)}") from None
    if (
        isinstance(value, torch.Tensor)
        and pixels.ndim == 3
        and pixels.shape[0] in (1, 3, 4)
        and pixels.shape[2] not in (1, 3, 4)
    ):
        pixels = pixels.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    if pixels.ndim == 2:
        pixels = pixels[..., None]

    is_object = pixels.dtype.kind == "O"
    found = f"found {_type(value)}" if is_object else f"found {pixels.dtype} of shape {pixels.shape}"
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.dtype.kind not in "uf":
        raise ValueError(f"{name}: {_EXPECTED}; {found}")
    if pixels.dtype.kind == "f":
        low, high = pixels.min(initial=0.0), pixels.max(initial=0.0)
        if not (low >= 0 and high <= 1):  # also for NaN
            raise ValueError(f"{name}: {_EXPECTED}; {found} with values from {low:g} to {high:g}")
        pixels = np.round(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{name}: {_EXPECTED}; {found}")
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3])


def as_frame(
    image: str,
    pixels: Image,
    skeleton: Skeleton,
    keypoints: Any,
    scores: Any = None,
    boxes: Any = None,
    person_scores: Any = None,
    where: str = "",
) -> Frame:
    """Returns the people in an image as a frame.

    Keypoints that are not finite become NaN, and so do those at (0, 0) with a score of 0, which is how files say that
    one is missing. Whatever is empty is nobody.

    Args:
        image: Name of the image.
        pixels: (H, W, 3).
        skeleton: The K keypoints.
        keypoints: (N, K, 2) in image pixels.
        scores: (N, K), None for no scores.
        boxes: (N, 4) x0, y0, x1, y1, None for no boxes.
        person_scores: (N,), None for no scores.
        where: Which of several images it is, for messages.

    Raises:
        ValueError: A shape or type is wrong, coordinates are shares of the image's size, a keypoint is at (0, 0), or a
            box ends before it begins.
    """
    height, width = pixels.shape[:2]
    poses = _numbers(f"keypoints{where}", keypoints)
    if poses.size == 0:
        return Frame.empty(image, skeleton)
    if poses.ndim != 3 or poses.shape[1:] != (len(skeleton), 2):
        expected = f"expected shape (N, {len(skeleton)}, 2), found {poses.shape}"
        raise ValueError(f"keypoints{where}: {expected}{_hint(poses.shape, skeleton)}")
    poses[~np.isfinite(poses).all(axis=-1)] = np.nan

    shapes = {"scores": poses.shape[:2], "boxes": (len(poses), 4), "person_scores": (len(poses),)}
    arrays: dict[str, Any] = {}
    for (name, shape), value in zip(shapes.items(), (scores, boxes, person_scores), strict=True):
        arrays[name] = np.full(shape, np.nan) if value is None else _numbers(f"{name}{where}", value)
        if arrays[name].shape != shape:
            raise ValueError(f"{name}{where}: expected shape {shape}, found {arrays[name].shape}")

    is_zero = (poses == 0).all(axis=-1)  # (N, K)
    poses[is_zero & (arrays["scores"] == 0)] = np.nan
    if num_zero := int((is_zero & (arrays["scores"] != 0)).sum()):
        remedy = "if these are missing, set them to NaN: keypoints[(keypoints == 0).all(axis=-1)] = float('nan')"
        raise ValueError(f"keypoints{where}: {num_zero} of {is_zero.size} are at (0, 0); {remedy}")
    known = poses[~np.isnan(poses)]
    if known.size and known.min() > _RELATIVE[0] and known.max() < _RELATIVE[1]:
        found = f"expected pixels of an image of {width} x {height}, found {known.min():g} to {known.max():g}"
        raise ValueError(f"keypoints{where}: {found}; if these are shares of its size, multiply by ({width}, {height})")

    is_reversed = (arrays["boxes"][:, 2:] < arrays["boxes"][:, :2]).any(axis=1)
    if is_reversed.any():
        found = arrays["boxes"][is_reversed][0].tolist()
        remedy = "x, y, width, height become these by boxes[:, 2:] += boxes[:, :2]"
        raise ValueError(f"boxes{where}: expected x0, y0, x1, y1, found {found}; {remedy}")
    return Frame(image, skeleton, poses, size=(width, height), **arrays)


def as_array(value: Any) -> Any:
    """Returns an array, also of a tensor on any device."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # numpy has no bfloat16
    return np.asarray(value)


def _numbers(name: str, value: Any) -> FloatArray:
    """Returns a copy in 64 bits."""
    try:
        if value is None or isinstance(value, str | bytes):
            raise TypeError
        return np.array(as_array(value), np.float64)
    except (TypeError, ValueError):  # an object of a library, or lists of different lengths
        raise ValueError(f"{name}: expected an array of numbers, found {_type(value)}") from None


def _hint(found: tuple[int, ...], skeleton: Skeleton) -> str:
    """Returns what to do about keypoints of a wrong shape."""
    count = len(skeleton)
    if found == (count, 2):
        return "; one person is keypoints[None]"
    if len(found) == 3 and found[2] == 3:
        return "; put the third number into scores"
    others = [f"'{name}'" for name, other in SKELETONS.items() if found[1:] == (len(other), 2)]
    return f"; say what they are by skeleton={' or '.join(others)}" if others else ""


def _name(image: Any) -> str:
    """Returns the file name of an image, empty where it is not known."""
    path = getattr(image, "filename", "") if isinstance(image, PIL.Image.Image) else image
    return Path(path).name if isinstance(path, str | Path) else ""


def _type(value: Any) -> str:
    return type(value).__name__
