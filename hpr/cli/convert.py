"""Convert poses from any format to any: hpr-convert, python tools/convert.py input=… format=… output=…."""

from dataclasses import replace
from pathlib import Path, PurePath

from hpr.cli import app
from hpr.cli.progress import progress_bar, say
from hpr.cli.settings import Section
from hpr.errors import UserError
from hpr.formats import Format, get_format
from hpr.formats.conversion import losses, without_original
from hpr.images import ImageSource, open_images
from hpr.poses import Frame, PoseSequence


class ConvertSettings(Section):
    """conf/convert.yaml."""

    input: str
    input_format: str
    format: str
    output: str
    images: str | list[str] | None
    annotations: str | None
    overwrite: bool


def convert(settings: ConvertSettings) -> list[Path]:
    """Converts every source of poses, prints what the target has no place for, and returns what was written.

    Raises:
        UserError: A source is absent or broken, or an output is there already or cannot be written.
    """
    source = get_format(settings.input_format, settings.annotations, settings.images, settings.input)
    if settings.format == "auto":
        raise UserError("format=auto: expected the name of a format to write")
    target = get_format(settings.format, settings.annotations, settings.images)
    paths = source.sources(Path(settings.input))
    outputs = _outputs(paths, Path(settings.output), target)
    for path, output in zip(paths, outputs, strict=True):
        if output.resolve() == path.resolve() or (output.exists() and not settings.overwrite):
            raise UserError(f"{output}: is there already; set another output, or overwrite=true")

    images = None if settings.images is None else open_images(settings.images)
    with progress_bar("files", len(paths), doing="converting") as progress:
        for path, output in zip(paths, outputs, strict=True):
            sequences = without_original(source.read(path))
            if images is not None:
                sequences = [_with_images(sequence, images) for sequence in sequences]
            target.write(sequences, output)
            for loss in losses(sequences, target.read(output)):
                say(f"{path.name}: lost, since {target.name} has no place for it: {loss}")
            progress(1)
    _print_end(source, target, outputs)
    return outputs


def _outputs(paths: list[Path], output: Path, target: Format) -> list[Path]:
    """Returns where each source goes: to the output itself, or to files in it."""
    if len(paths) == 1 and (target.is_folder or output.suffix == target.ending):
        return [output]
    return [output / f"{path.stem}{'' if target.is_folder else target.ending}" for path in paths]


def _with_images(sequence: PoseSequence, images: ImageSource) -> PoseSequence:
    """Returns a sequence that says its images' sizes and whole names, as far as there are images."""
    return replace(sequence, frames=[_with_image(frame, images) for frame in sequence.frames])


def _with_image(frame: Frame, images: ImageSource) -> Frame:
    if not images.has(frame):
        return frame
    path = PurePath(images.expected(frame))
    name = str(path.relative_to(images.name)) if path.is_relative_to(images.name) else frame.image
    return replace(frame, image=name, size=images.size(frame))


def _print_end(source: Format, target: Format, outputs: list[Path]) -> None:
    print(f"converted {len(outputs)} from {source.name} to {target.name}: {outputs[0]}{' …' if outputs[1:] else ''}")


COMMAND = app.Command("convert", ConvertSettings, convert)
