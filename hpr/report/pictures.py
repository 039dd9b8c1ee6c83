"""Pictures and clips of whole sequences before and after refining, with one image in memory at a time."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpr.errors import UserError
from hpr.images import Image, ImageSource
from hpr.poses import Frame, image_stem
from hpr.report.canvas import resize, save_jpeg
from hpr.report.clip import write_clip
from hpr.report.drawing import DEFAULT_STYLE, GAP, DrawnPeople, Style, draw_change
from hpr.skeleton import COCO17
from hpr.video import Video

_CLIP_SIZE = (1920, 1080)  # width and height in pixels
_PICTURE_SIDE = 2 * 8192 + GAP
"""Longest side in pixels: 8K side by side, which browsers still display."""

_MAX_NAME_BYTES = 120  # file systems take 255


@dataclass(frozen=True)
class SequencePair:
    """The frames of a sequence before and after refining.

    Attributes:
        name: Name of the sequence.
        before: The input.
        after: As many refined frames of the same images; None draws the input alone.
    """

    name: str
    before: Sequence[Frame]
    after: Sequence[Frame] | None = None

    def frames(self) -> Iterator[tuple[Frame, Frame | None]]:
        """Yields each frame before and after."""
        for index, frame in enumerate(self.before):
            yield frame, None if self.after is None else self.after[index]


@dataclass
class Drawn:
    """The number of frames that were drawn, and messages about those that were left out."""

    frames: int = 0
    problems: list[str] = field(default_factory=list)


def safe_names(wanted: Iterable[str]) -> list[str]:
    """Returns file names close to the wanted ones that are valid on every file system and differ from each other."""
    names: dict[str, str] = {}  # by what file systems that ignore case compare
    for text in wanted:
        safe = re.sub(r"[^\w.,()+ -]", "_", text).strip(" .") or "unnamed"
        safe = safe.encode(errors="replace")[:_MAX_NAME_BYTES].decode(errors="ignore")
        name, count = safe, 1
        while name.lower() in names:
            count += 1
            name = f"{safe}_{count}"
        names[name.lower()] = name
    return list(names.values())


def draw_pictures(
    pair: SequencePair,
    images: ImageSource,
    folder: Path,
    style: Style = DEFAULT_STYLE,
    every: int = 1,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Drawn:
    """Writes one picture per frame into a folder, named after the frame's image.

    Args:
        pair: The sequence.
        images: Source of the images.
        folder: Output folder.
        style: What is drawn, and how.
        every: Draw every n-th frame.
        progress: Called with the number of frames that are done.

    Raises:
        UserError: A picture cannot be written.
    """
    names = safe_names(
        image_stem(frame.image) or ("image" if frame.number is None else f"{frame.number:06}") for frame in pair.before
    )
    drawn = Drawn()
    for name, (before, after) in itertools.islice(zip(names, pair.frames(), strict=True), 0, None, every):
        if (image := _read(images, before, drawn)) is not None:
            picture = _draw(image, before, after, (_PICTURE_SIDE, _PICTURE_SIDE), style)
            save_jpeg(picture, folder / f"{name}.jpg")
            drawn.frames += 1
        progress(1)
    return drawn


def draw_clip(
    pair: SequencePair,
    video: Video,
    path: Path,
    style: Style = DEFAULT_STYLE,
    every: int = 1,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Drawn:
    """Writes a clip as long as the video, at most 1920 × 1080 pixels, with the people of the sequence's frames.

    The other arguments are those of `draw_pictures`.

    Raises:
        UserError: The clip cannot be written.
    """
    drawn = Drawn()
    frames = {before.number: (before, after) for before, after in pair.frames()}
    first = pair.before[0] if pair.before else Frame.empty("", COCO17)  # of nobody any skeleton will do
    empty = replace(Frame.empty("", first.skeleton), size=first.size)

    def pictures() -> Iterator[Image]:
        number = 0
        while video.has(nobody := replace(empty, number=number)):
            before, after = frames.get(number, (nobody, None if pair.after is None else nobody))
            if (image := _read(video, before, drawn)) is not None:
                yield _draw(image, before, after, _CLIP_SIZE, style)
            elif not video.has(nobody):
                drawn.problems.pop()  # the video ends earlier than its header says
            progress(1)
            number += every

    drawn.frames = write_clip(pictures(), video.frame_rate / every, path)

    end = video.frame_count
    beyond = [frame.number for frame in pair.before if frame.number is None or frame.number >= end > 0]
    drawn.problems += [f"{video.name}: has {end} frames, numbered from 0; the poses are of frame {n}" for n in beyond]
    return drawn


def _draw(image: Image, before: Frame, after: Frame | None, max_size: tuple[int, int], style: Style) -> Image:
    """Draws a frame before and after refining, on a picture of at most a width and height."""
    width, height = max_size
    pane_width = (width - GAP) // 2 if after is not None and style.layout == "side" else width
    image, factor, shift = resize(image, min(1.0, pane_width / image.shape[1], height / image.shape[0]))
    people = DrawnPeople.from_frame(before, min_score=style.min_score).scaled(factor, shift)
    refined = None if after is None else DrawnPeople.from_frame(after, before, style.min_score).scaled(factor, shift)
    return draw_change(image, people, refined, style)


def _read(images: ImageSource, frame: Frame, drawn: Drawn) -> Image | None:
    """Returns the image of a frame; None, with an entry in `drawn.problems`, where it cannot be read."""
    try:
        return images.read(frame)
    except UserError as error:
        drawn.problems.append(str(error))
        return None
