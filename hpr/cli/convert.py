"""`hpr convert`: convert poses from any format to any other."""

from dataclasses import replace
from pathlib import Path, PurePath

from hpr.cli import app
from hpr.cli.progress import progress_bar, say, warn
from hpr.errors import UserError
from hpr.files import name_without_ending
from hpr.formats import get_format
from hpr.formats.conversion import losses, without_original
from hpr.images import ImageSource, open_images
from hpr.poses import Frame
from hpr.refine.files import size_warnings
from hpr.refine.plausible import check_skeletons
from hpr.settings import Orientation, Section


class ConvertSettings(Section):
    """conf/convert.yaml."""

    poses: str
    input_format: str
    format: str
    output: str
    images: str | list[str] | None
    orientation: Orientation
    annotations: str | None
    skeleton: str | list[str] | None
    overwrite: bool


def convert(settings: ConvertSettings) -> None:
    """Converts every source of poses and prints what the target format cannot hold.

    Raises:
        UserError: A source is absent or broken, or an output exists already or cannot be written.
    """
    beside = (settings.annotations, settings.images)
    source = get_format(settings.input_format, *beside, settings.poses, settings.orientation, settings.skeleton)
    if settings.format == "auto":
        raise UserError("format=auto: expected the name of a format to write")
    target = get_format(settings.format, *beside, orientation=settings.orientation)
    paths = source.sources(Path(settings.poses))
    output, ending = Path(settings.output), "" if target.is_folder else target.ending
    is_single = len(paths) == 1 and (target.is_folder or output.suffix == ending)
    outputs = [output] if is_single else [output / f"{name_without_ending(path)}{ending}" for path in paths]
    for path, output in zip(paths, outputs, strict=True):
        if output.resolve() == path.resolve():
            raise UserError(f"{output}: these are the poses to be converted; set another output")
        if output.exists() and not settings.overwrite:
            raise UserError(f"{output}: exists already; set another output, or overwrite=true")

    images = None if settings.images is None else open_images(settings.images, orientation=settings.orientation)
    with progress_bar("files", len(paths), doing="converting") as progress:
        for path, output in zip(paths, outputs, strict=True):
            sequences = source.read(path)
            warn(*(f"{path}: {doubt}" for doubt in check_skeletons(sequences, settings.skeleton is not None)))
            sequences = without_original(sequences)
            if images is not None:
                warn(*size_warnings([frame for own in sequences for frame in own.frames], images))
                sequences = [
                    replace(sequence, frames=[_with_image(frame, images) for frame in sequence.frames])
                    for sequence in sequences
                ]
            target.write(sequences, output)

            for loss in losses(sequences, target.read(output)):
                say(f"{path.name}: lost, since {target.name} has no place for it: {loss}")
            progress(1)
    print(f"converted {len(outputs)} from {source.name} to {target.name}: {outputs[0]}{' …' if outputs[1:] else ''}")


def _with_image(frame: Frame, images: ImageSource) -> Frame:
    """Returns a frame with the size and the whole name of its image, if that exists."""
    if not images.has(frame):
        return frame
    path = PurePath(images.expected(frame))
    within = path.relative_to(images.name) if path.is_relative_to(images.name) else PurePath()  # no picture has no name
    return replace(frame, image=str(within) if within.name else frame.image, size=images.size(frame))


COMMAND = app.Command("convert", ConvertSettings, convert)
