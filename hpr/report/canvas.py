"""Lines, circles and text in images, and images resized and written."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from hpr.files import replacing
from hpr.images import Image
from hpr.poses import BoolArray, FloatArray

Colour = tuple[int, int, int]
"""RGB."""

DARK, WHITE = (20, 20, 30), (255, 255, 255)

_SHIFT = 4  # fractional bits of OpenCV's coordinates


def resize(image: Image, factor: float) -> tuple[Image, FloatArray, FloatArray]:
    """Returns a resized image, and the factor (2,) and shift (2,) for `DrawnPeople.scaled`."""
    if factor == 1:
        return image, np.ones(2), np.zeros(2)
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    ratio = np.array(size) / image.shape[1::-1]
    return np.asarray(resized, np.uint8), ratio, (ratio - 1) / 2  # OpenCV maps the centres of pixels


def encode_jpeg(picture: Image, quality: int) -> bytes:
    """Returns a picture (H, W, 3) RGB as a JPEG file."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def save_jpeg(picture: Image, path: Path) -> None:
    """Writes a picture (H, W, 3) RGB.

    Raises:
        UserError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(encode_jpeg(picture, 90))


def write_text(picture: Image, text: str, corner: tuple[float, float], size: int) -> None:
    """Writes outlined text of `size` pixels into a picture, moved inside as far as it fits."""
    for mask, colour in zip(render_text(text, size), (DARK, WHITE), strict=True):
        height, width = min(mask.shape[0], picture.shape[0]), min(mask.shape[1], picture.shape[1])
        x = int(np.clip(corner[0], 0, picture.shape[1] - width))
        y = int(np.clip(corner[1], 0, picture.shape[0] - height))

        part, alpha = picture[y : y + height, x : x + width], mask[:height, :width, None] / 255
        part[:] = (part * (1 - alpha) + np.array(colour) * alpha).round()


@lru_cache(maxsize=256)
def render_text(text: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns two masks (h, w) of 0 to 255: the text's outline, and the text itself in bold."""
    font, stroke = PIL.ImageFont.load_default(size), max(1, size // 9)
    _, _, right, bottom = font.getbbox(text, stroke_width=stroke)
    masks = []
    for width in (stroke, 0):
        mask = PIL.Image.new("L", (round(right) + stroke + size // 14 + 2, round(bottom) + stroke + 1))
        PIL.ImageDraw.Draw(mask).text((stroke, 0), text, 255, font, stroke_width=width)
        plain = np.array(mask)
        masks.append(np.maximum(plain, np.roll(plain, max(1, size // 14), axis=1)))
    return masks[0], masks[1]


def is_inside(picture: Image, points: FloatArray) -> BoolArray:
    """Returns (K,) which points (K, 2) are in a picture; NaN is not."""
    return np.asarray(((points >= 0) & (points < picture.shape[1::-1])).all(axis=1))


def draw_line(picture: Image, start: FloatArray, end: FloatArray, colour: Colour, thickness: float) -> None:
    """Draws a line between two points (2,)."""
    ends = _fixed_point(picture, start), _fixed_point(picture, end)
    cv2.line(picture, *ends, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def draw_rectangle(picture: Image, box: FloatArray, colour: Colour, thickness: float) -> None:
    """Draws a box (4,) x0, y0, x1, y1."""
    corners = _fixed_point(picture, box[:2]), _fixed_point(picture, box[2:])
    cv2.rectangle(picture, *corners, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def draw_circle(picture: Image, centre: FloatArray, radius: float, colour: Colour, thickness: int = -1) -> None:
    """Draws a circle around a point (2,): a disc unless a thickness of the ring is given."""
    fixed = round(radius * 2**_SHIFT)
    cv2.circle(picture, _fixed_point(picture, centre), fixed, colour, thickness, cv2.LINE_AA, _SHIFT)


def _fixed_point(picture: Image, point: FloatArray) -> tuple[int, int]:
    """Returns a point (2,) as OpenCV takes it: whole numbers with _SHIFT fractional bits."""
    size = max(picture.shape[:2])  # farther outside, OpenCV's integers would overflow
    x, y = (np.clip(point, -size, 2 * size) * 2**_SHIFT).round().astype(int).tolist()
    return x, y
