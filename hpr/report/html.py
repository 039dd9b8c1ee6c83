"""HTML pages: one file for a browser that needs no other file and no network."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpr.files import replacing
from hpr.images import Image
from hpr.poses import FloatArray
from hpr.report.canvas import encode_jpeg, resize

PICTURE_SIDE = 800
"""Longest side of a picture on a page, in pixels."""

_PICTURE_BYTES = 80_000
_QUALITIES = (80, 65, 50, 35)

_MIN_MARGIN, _MARGIN = 16, 0.12
"""Margin around a pose: pixels on both sides together, and a share of its extent on each."""

_MIN_ASPECT, _MAX_ENLARGEMENT = 0.6, 16.0
"""Ratio of the shorter to the longer side of a picture, and its enlargement."""

_MAX_PICTURES, _MAX_ROWS, _MAX_LINES, _MAX_LETTERS = 16, 60, 20, 160
"""What exceeds these is left out, so that a page has a few MB at most."""


@dataclass(frozen=True)
class Fact:
    """A number at the head of a page, with its unit; what it says, a few words more, and whether it is bad news."""

    value: str
    label: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column holds names.

    Attributes:
        head: Titles of the columns. Cells below "difference" are coloured by their sign.
        rows: Rows of cells.
        is_text: Whether the other columns hold text instead of numbers.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_text: bool = False


@dataclass(frozen=True)
class Picture:
    """One image, two with a slider between them, or these two and a third that can be laid over them.

    Attributes:
        images: Label → JPEG file; all of one size. Empty where there is a problem.
        problem: Why there is no image.
    """

    title: str
    caption: str = ""
    images: Mapping[str, bytes] = field(default_factory=dict)
    problem: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images in pixels."""
        return PIL.Image.open(io.BytesIO(next(iter(self.images.values())))).size

    @property
    def urls(self) -> list[tuple[str, Markup]]:
        """Label and data URL of each image."""
        form = Markup("data:image/jpeg;base64,{}")
        return [(label, form.format(base64.b64encode(jpeg).decode())) for label, jpeg in self.images.items()]


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        notes: Paragraphs.
        charts: Title → SVG element of `report.charts`.
        legend: What is drawn in the pictures → its colour in CSS.
        is_folded: Whether the tables are hidden until they are asked for.
    """

    title: str
    notes: Sequence[str] = ()
    charts: Mapping[str, Markup] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    is_folded: bool = False


@dataclass(frozen=True)
class Page:
    """The content of a page: the most important numbers, what the user should look into, and everything else."""

    title: str
    subtitle: str = ""
    facts: Sequence[Fact] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()


def save_page(page: Page, path: Path) -> None:
    """Writes a page.

    Raises:
        UserError: The file cannot be written.
    """
    content = render(page).encode("utf-8", errors="replace")  # file names may hold bytes that are no text
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def render(page: Page) -> str:
    """Returns a page as HTML. All text is escaped, and only the page's own script can run."""
    loader = PackageLoader("hpr.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = _shorten
    environment.globals |= {"MAX_PICTURES": _MAX_PICTURES, "MAX_ROWS": _MAX_ROWS, "MAX_LINES": _MAX_LINES}

    script = loader.get_source(environment, "slider.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("report.html.j2")
    return template.render(page=page, script=Markup(script), script_hash=digest)


def _shorten(text: str, length: int = _MAX_LETTERS) -> str:
    """Returns a text without its middle where it is longer than `length` letters."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"


def jpeg_bytes(image: Image) -> bytes:
    """Returns an image (H, W, 3) as a JPEG file for a page, shrunk until it is small enough."""
    shrink = min(1.0, PICTURE_SIDE / max(image.shape[:2]))
    while True:
        shrunk, _, _ = resize(image, shrink)
        for quality in _QUALITIES:
            jpeg = encode_jpeg(shrunk, quality)
            if len(jpeg) <= _PICTURE_BYTES or max(shrunk.shape[:2]) == 1:
                return jpeg
        shrink *= 0.7


def crop_around(image: Image, points: FloatArray) -> tuple[Image, FloatArray, FloatArray]:
    """Returns the part of an image that shows some points, at the size of a picture.

    Args:
        image: (H, W, 3) RGB.
        points: (n, 2) in image pixels. Without any, the whole image is shown.

    Returns:
        The part (h, w, 3), and the factor (2,) and shift (2,) for `DrawnPeople.scaled`.
    """
    size = np.array(image.shape[1::-1])
    low, high = np.zeros(2, int), size
    if len(points):
        inside = np.clip(points, 0, size)
        centre, extent = (inside.min(axis=0) + inside.max(axis=0)) / 2, np.ptp(inside, axis=0)
        extent = extent + max(2 * _MARGIN * float(extent.max()), _MIN_MARGIN)
        extent = np.maximum(extent, _MIN_ASPECT * extent.max())
        low = np.clip(centre - extent / 2, 0, size - 1).astype(int)
        high = np.clip(centre + extent / 2, low + 1, size).astype(int)

    scale = min(PICTURE_SIDE / max(high - low), _MAX_ENLARGEMENT)
    part, factor, shift = resize(image[low[1] : high[1], low[0] : high[0]], scale)
    return part, factor, shift - low * factor
