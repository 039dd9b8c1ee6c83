"""Draw poses before and after refining: hpr-visualize, python tools/visualize.py input=… images=… refined=…."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import Field

from hpr.cli import app
from hpr.cli.progress import progress_bar
from hpr.cli.settings import Section
from hpr.errors import UserError
from hpr.formats import Format, get_format
from hpr.images import ImageSource, Video, open_images
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import PoseFile, check_images, read_files
from hpr.report.drawing import Layout, save_jpeg
from hpr.report.pictures import Drawn, Names, SequencePair, clip_path, draw_clip, draw_pictures
from hpr.report.sheet import draw_sheet, most_changed

Count = Annotated[int, Field(ge=1)]


class VisualizeSettings(Section):
    """conf/visualize.yaml."""

    input: str
    refined: str | None
    images: str | list[str]
    format: str
    annotations: str | None
    layout: Layout
    every: Count
    sheet: Count | None
    overwrite: bool
    output_dir: str


def visualize(settings: VisualizeSettings) -> Drawn:
    """Draws every sequence, says what was written and returns what was drawn.

    Raises:
        UserError: A source is absent or broken, the input and the refined poses do not fit together, or an output is
            there already or cannot be written.
    """
    images, output = open_images(settings.images), Path(settings.output_dir)
    files = _read(settings, settings.input)
    check_images(files, images)
    refined = None if settings.refined is None else _read(settings, settings.refined)
    pairs = paired(files, refined)
    if settings.sheet is not None:
        return _write_sheet(pairs, images, settings.sheet, output / "sheet.jpg", settings.overwrite)
    return _draw(pairs, images, output, settings.layout, settings.every, settings.overwrite)


def draw_results(
    file_format: Format, files: Sequence[PoseFile], results: Path, images: ImageSource, output: Path
) -> None:
    """Draws what refining has made of some files.

    Args:
        file_format: Of the files.
        files: The input.
        results: The folder of the refined files, which have the same names.
        images: Where the images are.
        output: The folder to write to.

    Raises:
        UserError: A file cannot be read, or a picture cannot be written.
    """
    refined = [PoseFile(file.path, file_format.read(results / file.path.name)) for file in files]
    _draw(paired(files, refined), images, output, "side", 1, overwrite=True)


def _read(settings: VisualizeSettings, location: str) -> list[PoseFile]:
    file_format = get_format(settings.format, settings.annotations, settings.images, location)
    with progress_bar("files", doing="reading") as progress:
        return read_files(file_format, Path(location), progress)


def paired(files: Sequence[PoseFile], refined: Sequence[PoseFile] | None) -> list[SequencePair]:
    """Returns the sequences of some files, with those of refined files of the same names if there are any.

    Raises:
        UserError: A file, a sequence or a frame has no counterpart, or one of another image.
    """
    if refined is None:
        return [SequencePair(sequence.name, sequence.frames) for file in files for sequence in file.sequences]
    by_name = {file.path.stem: file for file in refined}
    is_one = len(files) == len(refined) == 1  # which may be called as they like
    pairs: list[SequencePair] = []
    for file in files:
        other = refined[0] if is_one else by_name.get(file.path.stem)
        if other is None:
            folder = refined[0].path.parent
            raise UserError(f"{folder}: expected a refined file for {file.path.name}, found none of that name")
        _check_count("sequences", len(file.sequences), len(other.sequences), file, other)
        pairs += [_pair(file, other, *both) for both in zip(file.sequences, other.sequences, strict=True)]
    return pairs


def _pair(file: PoseFile, other: PoseFile, before: PoseSequence, after: PoseSequence) -> SequencePair:
    """Returns a sequence and its refined one, whose frames have to be of the same images."""
    _check_count(f"frames of {before.name}", len(before.frames), len(after.frames), file, other)
    for number, (own, refined) in enumerate(zip(before.frames, after.frames, strict=True)):
        if _identity(own) != _identity(refined):
            where = f"{other.path}: frame {number} of {before.name}"
            raise UserError(f"{where}: expected {_words(own)}, as in {file.path}; found {_words(refined)}")
    return SequencePair(before.name, before.frames, after.frames)


def _check_count(what: str, expected: int, found: int, file: PoseFile, other: PoseFile) -> None:
    if expected != found:
        raise UserError(f"{other.path}: expected {expected} {what}, as in {file.path}; found {found}")


def _identity(frame: Frame) -> tuple[str, int | None]:
    """Returns which image a frame is of, as far as formats agree on it."""
    return PurePath(frame.image).stem, frame.number


def _words(frame: Frame) -> str:
    return f"image '{frame.image}'" if frame.image else f"number {frame.number}"


def _draw(
    pairs: Sequence[SequencePair], images: ImageSource, output: Path, layout: Layout, every: int, overwrite: bool
) -> Drawn:
    """Draws sequences with a progress bar and says what happened."""
    names, is_clip = Names(), isinstance(images, Video)
    folders = [output / names.new(pair.name) for pair in pairs]
    outputs = [clip_path(output, folder.name) for folder in folders] if is_clip else folders
    _check_free(outputs, overwrite)
    total = Drawn()
    frames = sum(_frame_count(pair, images, every) for pair in pairs)
    with progress_bar("frames", frames, doing="drawing") as progress:
        for pair, path in zip(pairs, outputs, strict=True):
            if isinstance(images, Video):
                drawn = draw_clip(pair, images, path, layout, every, progress)
            else:
                drawn = draw_pictures(pair, images, path, layout, every, progress)
            total.frames += drawn.frames
            total.problems += drawn.problems
    _print_end(total, outputs)
    return total


def _frame_count(pair: SequencePair, images: ImageSource, every: int) -> int:
    count = images.frame_count if isinstance(images, Video) else len(pair.before)
    return -(-max(count, 0) // every)


def _check_free(outputs: Sequence[Path], overwrite: bool) -> None:
    for path in outputs:
        if path.exists() and not overwrite:
            raise UserError(f"{path}: is there already; set another output_dir, or overwrite=true")


def _print_end(drawn: Drawn, outputs: Sequence[Path]) -> None:
    print(f"drew {drawn.frames} frames: {outputs[0]}{' …' if outputs[1:] else ''}")
    if drawn.problems:
        print(f"warning: {len(drawn.problems)} frames have no image and are left out; the first: {drawn.problems[0]}")


def _write_sheet(pairs: Sequence[SequencePair], images: ImageSource, count: int, path: Path, overwrite: bool) -> Drawn:
    """Draws the people whom refining changed most."""
    _check_free([path], overwrite)
    if any(pair.after is None for pair in pairs):
        raise UserError(f"sheet={count}: refined is not set, whose changes it shows; add refined=FILE_OR_FOLDER")
    frames = [(pair.name, old, new) for pair in pairs for old, new in pair.frames() if new is not None]
    changes = most_changed(frames, count)
    sheet = draw_sheet(changes, images)
    if sheet is None:
        raise UserError(f"sheet={count}: nobody of more than a few pixels has moved, or no image can be read")
    save_jpeg(sheet, path)
    print(f"drew {len(changes)} people: {path}")
    return Drawn(len(changes))


COMMAND = app.Command("visualize", VisualizeSettings, visualize, lambda drawn: 3 if drawn.problems else 0)
