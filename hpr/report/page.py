"""A page for people to look at in a browser: one HTML file that needs nothing else, no network either."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpr.files import replacing
from hpr.images import Image
from hpr.poses import FloatArray

PICTURE_SIDE, SHEET_SIDE = 640, 1400
"""Pictures, and sheets of small ones, are made no wider and no higher than this, in pixels."""

_LEAST_MARGIN, _MARGIN = 24, 0.12
"""About poses: pixels, and a share of their extent."""

_LEAST_ASPECT, _MOST_ENLARGED = 0.6, 3.0
"""Shorter over longer side of what is shown; and how much it is enlarged."""

_PICTURE_BYTES = 64_000
_QUALITIES = (80, 65, 50, 35)
_MAX_PICTURES, _MAX_ROWS, _MAX_LINES, _MAX_LETTERS = 16, 60, 20, 160
"""What is beyond is left out, so that a page of whatever run has a few MB at most."""


@dataclass(frozen=True)
class Fact:
    """A number at the head of a page.

    Attributes:
        value: The number, with its unit.
        label: What it is.
        note: A few words more.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: Above it.
        svg: From `report.charts`.
    """

    title: str
    svg: Markup


@dataclass(frozen=True)
class Table:
    """A table, whose first column are names.

    Attributes:
        title: Above it.
        head: Titles of the columns; what is below "difference" is coloured by its sign.
        rows: Of cells.
        is_text: Whether the other columns are texts and no numbers.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_text: bool = False


@dataclass(frozen=True)
class Panel:
    """One of the images of a picture.

    Attributes:
        label: What it shows.
        jpeg: The image.
        size: Its width and height in pixels.
    """

    label: str
    jpeg: bytes
    size: tuple[int, int]

    @property
    def url(self) -> Markup:
        """The image as an address."""
        return Markup("data:image/jpeg;base64,{}").format(base64.b64encode(self.jpeg).decode())


@dataclass(frozen=True)
class Picture:
    """A picture: one image, or two with a slider between them, or these and a third that is laid above them.

    Attributes:
        title: Of what.
        caption: Below it.
        panels: Its images, all of the same place; none where there is a problem.
        problem: Why there is no picture.
        is_sheet: Whether it is a sheet of small images, which is shown in its full height.
    """

    title: str
    caption: str = ""
    panels: Sequence[Panel] = ()
    problem: str = ""
    is_sheet: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Above it.
        notes: Paragraphs.
        charts: Side by side where there is room.
        tables: Likewise.
        pictures: Likewise.
        is_folded: Whether the tables are shown only when asked for.
    """

    title: str
    notes: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Page:
    """What stands on a page.

    Attributes:
        title: Of the page.
        subtitle: Below it.
        facts: The numbers that matter most.
        warnings: What a user should look into.
        sections: All else.
    """

    title: str
    subtitle: str = ""
    facts: Sequence[Fact] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()


def panel(label: str, image: Image, side: int = PICTURE_SIDE) -> Panel:
    """Returns an image as it stands on a page, made smaller until it takes little room.

    Args:
        label: What it shows.
        image: (H, W, 3) RGB.
        side: It is made no wider and no higher than this, in pixels.
    """
    room = _PICTURE_BYTES * side // PICTURE_SIDE
    shrink = min(1.0, side / max(image.shape[:2]))
    while True:
        size = tuple(max(1, round(side * shrink)) for side in image.shape[1::-1])
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for quality in _QUALITIES:
            jpeg = encoded_jpeg(np.asarray(resized, np.uint8), quality)
            if len(jpeg) <= room or max(size) == 1:
                return Panel(label, jpeg, (size[0], size[1]))
        shrink *= 0.7


def region(image: Image, poses: Sequence[FloatArray], aspect: float = _LEAST_ASPECT) -> tuple[Image, FloatArray, float]:
    """Returns the part of an image that shows some poses, at the size of a picture.

    Args:
        image: (H, W, 3) RGB.
        poses: Each (..., 2) in image pixels, NaN where missing; without any, all of the image is shown.
        aspect: Least ratio of the shorter to the longer side, where the image is large enough.

    Returns:
        The part; its upper left corner (2,) in the image; and the part's pixels for each of the image's.
    """
    points = np.concatenate([np.empty((0, 2)), *(pose.reshape(-1, 2) for pose in poses)])
    size = np.array(image.shape[1::-1])
    low, high = np.zeros(2), size
    if np.isfinite(points).all(axis=1).any():
        inside = np.clip(points[np.isfinite(points).all(axis=1)], 0, size)
        centre, extent = (inside.min(axis=0) + inside.max(axis=0)) / 2, np.ptp(inside, axis=0)
        extent = extent + 2 * (_LEAST_MARGIN + _MARGIN * extent.max())
        extent = np.maximum(extent, aspect * extent.max())
        low = np.clip(centre - extent / 2, 0, size - 1).astype(int)
        high = np.clip(centre + extent / 2, low + 1, size).astype(int)

    part = image[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    scale = min(PICTURE_SIDE / max(part.shape[:2]), _MOST_ENLARGED)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    sides = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    return np.asarray(cv2.resize(part, sides, interpolation=how), np.uint8), low.astype(float), scale


def encoded_jpeg(image: Image, quality: int = 90) -> bytes:
    """Returns an image (H, W, 3) RGB as the content of a JPEG file."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(encoded.tobytes())


def rendered(page: Page) -> str:
    """Returns a page as HTML. All texts are escaped, and nothing but the page's own script can run."""
    script = files("hpr.report").joinpath("templates", "slider.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _environment().get_template("report.html.j2")
    return template.render(page=page, script=Markup(script), script_hash=digest, limit=_limited)


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hpr.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = _short
    environment.globals |= {"MAX_PICTURES": _MAX_PICTURES, "MAX_ROWS": _MAX_ROWS, "MAX_LINES": _MAX_LINES}
    return environment


def save_page(page: Page, path: Path) -> None:
    """Writes a page.

    Raises:
        UserError: The file cannot be written.
    """
    # Names of files may hold what is no text.
    content = rendered(page).encode("utf-8", errors="replace")
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _short(text: str, most: int = _MAX_LETTERS) -> str:
    """Returns a text without its middle where it has many letters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … {text[-half:]}"


def _limited(items: Iterable[object], most: int) -> tuple[list[object], int]:
    """Returns the first of some items, and how many are left out."""
    every = list(items)
    return every[:most], max(0, len(every) - most)
