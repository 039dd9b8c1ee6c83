"""`hpr visualize`: draw poses before and after refining."""

from collections.abc import Sequence
from pathlib import Path

from hpr.cli import app
from hpr.cli.progress import progress_bar, warn
from hpr.errors import UserError, counted
from hpr.files import name_without_ending
from hpr.formats import get_format
from hpr.images import ImageSource, open_images
from hpr.poses import image_stem
from hpr.refine.files import PoseFile, check_images, read_files
from hpr.refine.plausible import check_skeletons
from hpr.report.clip import clip_ending
from hpr.report.drawing import DEFAULT_STYLE, Colouring, Layout, Style
from hpr.report.pictures import Drawn, SequencePair, draw_clip, draw_pictures, safe_names
from hpr.settings import Count, Orientation, Probability, Section
from hpr.video import Video


class VisualizeSettings(Section):
    """conf/visualize.yaml."""

    poses: str
    refined: str | None
    images: str | list[str]
    format: str
    orientation: Orientation
    annotations: str | None
    skeleton: str | list[str] | None
    layout: Layout
    colour: Colouring
    min_score: Probability
    boxes: bool
    names: bool
    every: Count
    overwrite: bool
    output_dir: str


def visualize(settings: VisualizeSettings) -> int:
    """Draws every sequence and prints what was written.

    Returns:
        3 if frames had to be left out, else 0.

    Raises:
        UserError: A source is absent or broken, the input and the refined poses do not fit together, or an output
            exists already or cannot be written.
    """
    images = open_images(settings.images, orientation=settings.orientation)

    def read(location: str) -> list[PoseFile]:
        beside = (settings.annotations, settings.images, location, settings.orientation, settings.skeleton)
        file_format = get_format(settings.format, *beside)
        with progress_bar("files", doing="reading") as progress:
            files = read_files(file_format, Path(location), progress)
        sequences = [sequence for file in files for sequence in file.sequences]
        warn(*check_skeletons(sequences, settings.skeleton is not None))
        return files

    files = read(settings.poses)
    warn(*check_images(files, images))
    pairs = pair_sequences(files, None if settings.refined is None else read(settings.refined))
    style = Style(settings.layout, settings.colour, settings.min_score, settings.boxes, settings.names)
    drawn = draw(pairs, images, Path(settings.output_dir), settings.overwrite, style, settings.every)
    return 3 if drawn.problems else 0


def pair_sequences(files: Sequence[PoseFile], refined: Sequence[PoseFile] | None) -> list[SequencePair]:
    """Returns the sequences of some files, with those of the refined files of the same names if there are any.

    Raises:
        UserError: A file or a sequence has no refined counterpart, or a frame has one of another image.
    """
    if refined is None:
        return [SequencePair(sequence.name, sequence.frames) for file in files for sequence in file.sequences]

    refined_by_name = {name_without_ending(file.path): file for file in refined}
    pairs: list[SequencePair] = []
    for file in files:
        # Two single files may have different names.
        by_name = refined_by_name.get(name_without_ending(file.path))
        other = refined[0] if len(files) == len(refined) == 1 else by_name
        if other is None:
            folder = refined[0].path.parent
            raise UserError(f"{folder}: expected a refined file for {file.path.name}, found none of that name")

        _check_equal([f"{len(own.sequences)} sequences" for own in (file, other)], f"{other.path}", file)
        for before, after in zip(file.sequences, other.sequences, strict=True):
            counts = [f"{len(own.frames)} frames of {before.name}" for own in (before, after)]
            _check_equal(counts, f"{other.path}", file)
            for index, frames in enumerate(zip(before.frames, after.frames, strict=True)):
                images = [f"image '{image_stem(frame.image)}', number {frame.number}" for frame in frames]
                _check_equal(images, f"{other.path}: frame {index} of {before.name}", file)
            pairs.append(SequencePair(before.name, before.frames, after.frames))
    return pairs


def _check_equal(both: Sequence[str], where: str, file: PoseFile) -> None:
    """Refuses refined poses that do not fit a file of input, given the same words about both."""
    expected, found = both
    if expected != found:
        raise UserError(f"{where}: expected {expected}, as in {file.path}; found {found}")


def draw(
    pairs: Sequence[SequencePair],
    images: ImageSource,
    output: Path,
    overwrite: bool,
    style: Style = DEFAULT_STYLE,
    every: int = 1,
) -> Drawn:
    """Draws sequences with a progress bar, each into a folder or a clip of its own, and prints what was written.

    Raises:
        UserError: An output exists already or cannot be written.
    """
    ending = clip_ending() if isinstance(images, Video) else ""
    paths = [output / f"{name}{ending}" for name in safe_names(pair.name for pair in pairs)]
    for path in paths:
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; set another output_dir, or overwrite=true")

    total = Drawn()
    counts = [images.frame_count if isinstance(images, Video) else len(pair.before) for pair in pairs]
    with progress_bar("frames", sum(-(-max(count, 0) // every) for count in counts), doing="drawing") as progress:
        for pair, path in zip(pairs, paths, strict=True):
            if isinstance(images, Video):
                drawn = draw_clip(pair, images, path, style, every, progress)
            else:
                drawn = draw_pictures(pair, images, path, style, every, progress)
            total.frames += drawn.frames
            total.problems += drawn.problems

    print(f"drew {counted(total.frames, 'frame')}: {paths[0]}{' …' if paths[1:] else ''}")
    if total.problems:
        warn(f"{counted(len(total.problems), 'frame')} left out without an image; the first: {total.problems[0]}")
    return total


COMMAND = app.Command("visualize", VisualizeSettings, visualize)
