"""What a program may give the refiner for an image and poses, and what the refiner makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from hpr.images import Image, read_image
from hpr.poses import Frame
from hpr.skeleton import Skeleton

AnyImage = NDArray[Any] | torch.Tensor | PIL.Image.Image | Path

_EXPECTED = "expected uint8 (H, W, 3), (H, W) or (H, W, 4), floats from 0 to 1, a Pillow picture, or a path"


def is_single(image: Any) -> bool:
    """Returns whether an argument is one image rather than several."""
    return isinstance(image, str | Path) or (hasattr(image, "size") and getattr(image, "ndim", 3) < 4)


def as_image(value: Any) -> Image:
    """Returns an image (H, W, 3) uint8 RGB of an array, a tensor (C, H, W) or (H, W, C), a Pillow picture or a path.

    Grey images are repeated, a fourth channel is left out; floats are from 0 to 1.

    Raises:
        UserError: A path names no image that can be read.
        ValueError: It is something else.
    """
    if isinstance(value, str | Path):
        return read_image(Path(value))
    if hasattr(value, "convert"):  # Pillow's
        value = value.convert("RGB")
    is_tensor = hasattr(value, "detach")
    pixels = as_array(value)
    if is_tensor and pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    if pixels.ndim == 2:
        pixels = pixels[..., None]

    found = f"found {pixels.dtype} of shape {pixels.shape}"
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.dtype.kind not in "uf":
        raise ValueError(f"image: {_EXPECTED}; {found}")
    if pixels.dtype.kind == "f":
        low, high = pixels.min(initial=0.0), pixels.max(initial=0.0)
        if not (low >= 0 and high <= 1):  # also for NaN
            raise ValueError(f"image: {_EXPECTED}; {found} with values from {low:g} to {high:g}")
        pixels = np.round(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"image: {_EXPECTED}; {found}")
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3])


def as_array(value: Any) -> Any:
    """Returns an array, also of a tensor on any device."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def as_frame(keypoints: Any, scores: Any, skeleton: Skeleton) -> Frame:
    """Returns poses (N, K, 2) with scores (N, K) as a frame; keypoints that are not finite become NaN.

    Whatever is empty is nobody.

    Raises:
        ValueError: A shape is wrong.
    """
    count = len(skeleton)
    poses = np.array(as_array(keypoints), np.float64)
    if poses.size == 0:
        return Frame.empty("", skeleton)
    if poses.ndim != 3 or poses.shape[1:] != (count, 2):
        hint = "; one person is keypoints[None]" if poses.shape == (count, 2) else ""
        hint = "; put the third number into scores" if poses.shape[1:] == (count, 3) else hint
        raise ValueError(f"keypoints: expected shape (N, {count}, 2), found {poses.shape}{hint}")
    poses[~np.isfinite(poses).all(axis=-1)] = np.nan

    values = np.full(poses.shape[:2], np.nan) if scores is None else np.array(as_array(scores), np.float64)
    if values.shape != poses.shape[:2]:
        raise ValueError(f"scores: expected shape {poses.shape[:2]}, found {values.shape}")
    return Frame("", skeleton, poses, values)
