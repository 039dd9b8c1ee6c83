"""Pictures and clips of whole sequences before and after refining, one image in memory at a time."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from hpr.errors import UserError
from hpr.images import Image, ImageSource, Video
from hpr.poses import Frame
from hpr.report.clip import CLIP_ENDING, write_clip
from hpr.report.drawing import GAP, Layout, People, draw_change, enlarged, save_jpeg

_CLIP_WIDTH, _CLIP_HEIGHT = 1920, 1080
_PICTURE_SIDE = 2 * 8192 + GAP
"""Pixels at most. A picture can show 8K side by side, and is one that browsers still display."""

_LONGEST_NAME = 120  # bytes; file systems take 255


@dataclass(frozen=True)
class SequencePair:
    """The frames of a sequence before and after refining.

    Attributes:
        name: Of the sequence.
        before: The input.
        after: Refined, as many and of the same images; None where there is only an input.
    """

    name: str
    before: Sequence[Frame]
    after: Sequence[Frame] | None = None

    def frames(self) -> Iterator[tuple[Frame, Frame | None]]:
        """Yields each frame before and after."""
        for place, frame in enumerate(self.before):
            yield frame, None if self.after is None else self.after[place]


@dataclass
class Drawn:
    """What has been drawn.

    Attributes:
        frames: Number of them.
        problems: What is wrong with the image of each frame that was left out.
    """

    frames: int = 0
    problems: list[str] = field(default_factory=list)


def draw_pictures(
    pair: SequencePair,
    images: ImageSource,
    folder: Path,
    layout: Layout,
    every: int = 1,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Drawn:
    """Writes a picture of each frame to a folder, named as its image.

    Args:
        pair: The sequence.
        images: Where the images are.
        folder: To write to.
        layout: See `Layout`.
        every: 2 draws every second frame, and so on.
        progress: Called with the number of frames that are done.

    Raises:
        UserError: A picture cannot be written.
    """
    drawn, names = Drawn(), Names()
    for number, (before, after) in enumerate(pair.frames()):
        name = names.new(_image_name(before))  # also of those that are not drawn, so that `every` changes no name
        if number % every:
            continue
        if (image := _read(images, before, drawn)) is not None:
            save_jpeg(_picture(image, before, after, layout, _PICTURE_SIDE, _PICTURE_SIDE), folder / f"{name}.jpg")
            drawn.frames += 1
        progress(1)
    return drawn


def draw_clip(
    pair: SequencePair,
    video: Video,
    path: Path,
    layout: Layout,
    every: int = 1,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Drawn:
    """Writes a clip of a video, with the people of the frames that the sequence has.

    It takes as long as the video, and is at most _CLIP_WIDTH by _CLIP_HEIGHT pixels.

    Args:
        pair: The sequence.
        video: The video.
        path: Of the clip.
        layout: See `Layout`.
        every: 2 draws every second frame, and so on.
        progress: Called with the number of frames that are done.

    Raises:
        UserError: The clip cannot be written.
    """
    drawn = Drawn()
    pictures = _clip_pictures(pair, video, layout, every, drawn, progress)
    drawn.frames = write_clip(pictures, video.frame_rate / every, path)
    end = video.frame_count
    beyond = [frame.number for frame in pair.before if frame.number is None or frame.number >= end > 0]
    drawn.problems += [f"{video.name}: has {end} frames, numbered from 0; the poses are of frame {n}" for n in beyond]
    return drawn


def _clip_pictures(
    pair: SequencePair,
    video: Video,
    layout: Layout,
    every: int,
    drawn: Drawn,
    progress: Callable[[int], Any],
) -> Iterator[Image]:
    """Yields a picture of each frame of a video, also of those that nobody is in."""
    by_number = {before.number: (before, after) for before, after in pair.frames()}
    number = 0
    while video.has(frame := _nobody(pair, number)):
        before, after = by_number.get(number, (frame, None if pair.after is None else frame))
        if (image := _read(video, before, drawn)) is not None:
            yield _picture(image, before, after, layout, _CLIP_WIDTH, _CLIP_HEIGHT)
        elif not video.has(frame):
            drawn.problems.pop()  # that was the end, which the header has told wrongly
        progress(1)
        number += every


def _nobody(pair: SequencePair, number: int) -> Frame:
    """Returns a frame of a video without people."""
    skeleton = pair.before[0].skeleton
    return replace(Frame.empty("", skeleton), number=number)


def clip_path(folder: Path, name: str) -> Path:
    """Returns where the clip of a sequence is."""
    return folder / f"{name}{CLIP_ENDING}"


def _picture(image: Image, before: Frame, after: Frame | None, layout: Layout, width: int, height: int) -> Image:
    """Returns `draw_change` of an image, shrunk where the picture would be larger than some size."""
    pane = (width - GAP) // 2 if after is not None and layout == "side" else width
    image, factor, shift = enlarged(image, min(1.0, pane / image.shape[1], height / image.shape[0]))
    old = People.of(before).placed(factor, shift)
    return draw_change(image, old, None if after is None else People.of(after, before).placed(factor, shift), layout)


def _read(images: ImageSource, frame: Frame, drawn: Drawn) -> Image | None:
    """Returns an image; None, with a note of what is wrong, where there is none."""
    try:
        return images.read(frame)
    except UserError as error:
        drawn.problems.append(str(error))
        return None


class Names:
    """Names of files and folders that are safe in any folder, and each only once."""

    def __init__(self) -> None:
        """Starts without names."""
        self._taken: set[str] = set()

    def new(self, wanted: str) -> str:
        """Returns a name that is as close to the wanted one as can be."""
        safe = re.sub(r"[^\w.,()+ -]", "_", wanted).strip(" .") or "unnamed"
        safe = safe.encode(errors="replace")[:_LONGEST_NAME].decode(errors="ignore")
        name, count = safe, 1
        while name.lower() in self._taken:  # not all file systems tell a from A
            count += 1
            name = f"{safe}_{count}"
        self._taken.add(name.lower())
        return name


def _image_name(frame: Frame) -> str:
    """Returns what the picture of a frame is called: its image's name, or its number in a video."""
    path = PurePath(frame.image)
    return path.stem or ("image" if frame.number is None else f"{frame.number:06}")
