"""Files of poses: one module per format. No other module knows how a file is built."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats import fields
from hpr.formats.alphapose import AlphaPose
from hpr.formats.arrays import Arrays
from hpr.formats.base import Format, pose_files
from hpr.formats.coco import Coco, CrowdPose
from hpr.formats.coco_layout import has_names
from hpr.formats.mmpose import MMPose
from hpr.formats.mpii import Mpii
from hpr.formats.openpose import OpenPose
from hpr.formats.posetrack17 import PoseTrack17
from hpr.formats.posetrack18 import PoseTrack18, PoseTrack21
from hpr.formats.ultralytics import Ultralytics
from hpr.formats.ultralytics_labels import UltralyticsLabels
from hpr.settings import Orientation, checked
from hpr.skeleton import get_skeleton, named_skeleton

__all__ = ["FORMATS", "Format", "PoseTrack17", "PoseTrack18", "PoseTrack21", "get_format", "pose_files", "recognise"]

_ALL: tuple[type[Format], ...] = (
    *(PoseTrack18, PoseTrack17, PoseTrack21, Coco, CrowdPose, OpenPose, AlphaPose, MMPose),
    *(Ultralytics, UltralyticsLabels, Mpii, Arrays),
)

FORMATS: dict[str, type[Format]] = {own.name: own for own in _ALL}

_MAX_LOOKED_AT = 20
"""Number of files of a folder that are tried if the first one has no known format."""

_ENDINGS = (".json", ".npz", ".mat", ".txt")


@checked
def get_format(
    name: str,
    annotations: str | None = None,
    images: str | Sequence[str] | None = None,
    location: str | None = None,
    orientation: Orientation = "auto",
    skeleton: str | Sequence[str] | None = None,
) -> Format:
    """Returns a format by its name, or by the look of a file.

    Args:
        name: One of FORMATS, or "auto".
        annotations: A file of ground truth, for formats that read one beside (`Format.reads_beside`).
        images: Where the images are, for formats that need their sizes (`Format.reads_beside`).
        location: A file or folder of poses; "auto" recognises the format of these.
        orientation: How photographs are turned; see `hpr.images.open_images`.
        skeleton: What the keypoints are, for formats that do not name them: the name of a skeleton, or their names.

    Raises:
        UserError: There is no such format or skeleton, or the files are of no format.
    """
    if name == "auto" and location is not None:
        name, path, document = _recognise(Path(location))
        if name == CrowdPose.name and annotations is None and skeleton is None and not has_names(document):
            alike = "the 14 keypoints may be crowdpose14 or aic14"
            raise UserError(f"{path}: {alike}; set skeleton=NAME, or annotations=FILE that names them")
    if name not in FORMATS:
        raise UserError(f"unknown format '{name}': expected one of auto, {', '.join(FORMATS)}")
    beside = {"annotations": annotations, "images": images, "orientation": orientation}
    constructor: Callable[..., Format] = FORMATS[name]  # what it takes is said by reads_beside
    own = constructor(**{key: beside[key] for key in FORMATS[name].reads_beside})
    if skeleton is not None:
        if not own.takes_skeleton:
            raise UserError(f"skeleton={skeleton}: files of {name} say what their keypoints are; leave it out")
        own.skeleton = get_skeleton(skeleton) if isinstance(skeleton, str) else named_skeleton(skeleton, "skeleton")
    return own


def recognise(location: Path) -> str:
    """Returns the name of the format that a file is in, or the first file of a folder.

    Raises:
        UserError: The file is absent, not what its ending says, or of no known format.
    """
    return _recognise(location)[0]


def _recognise(location: Path) -> tuple[str, Path, Any]:
    """Returns the name of a format, and the file that tells it with its content if that is JSON."""
    path, document = read_first(location)
    try:
        return recognise_document(path, document), path, document
    except UserError:
        others = path.parent.glob(f"*{path.suffix}") if location.is_dir() else ()
        for other in sorted(others)[:_MAX_LOOKED_AT]:
            with suppress(UserError):  # the first may be broken
                path, document = read_first(other)
                return recognise_document(path, document), path, document
        raise


def read_first(location: Path) -> tuple[Path, Any]:
    """Returns a file, or the first file of poses in a folder or in the folders in it, and its content if it is JSON.

    Raises:
        UserError: The file is absent or not what its ending says.
    """
    try:
        path = location if location.is_file() else None
        if not location.exists():
            raise UserError(f"{location}: no such file or folder")
    except OSError as error:  # a name may be too long for the system
        raise UserError(f"{location}: cannot be read ({error.strerror})") from None

    if path is None:
        patterns = [f"{folder}*{ending}" for folder in ("", "*/") for ending in _ENDINGS]
        paths = [path for pattern in patterns for path in sorted(location.glob(pattern))]
        for path in paths:
            with suppress(UserError):  # another file may tell
                return path, read_json(path) if path.suffix == ".json" else None
        path = next(iter(paths), None)
    if path is None:
        raise UserError(f"{location}: no people: expected files of poses ({', '.join(_ENDINGS)}), found none")
    return path, read_json(path) if path.suffix == ".json" else None


def recognise_document(path: Path, document: object) -> str:
    """Returns the name of the format that a file is in, given its content if it is JSON.

    Raises:
        UserError: The file is of no known format.
    """
    for name, own in FORMATS.items():
        if own.recognises(path, document):
            return name
    if document in ([], {}):
        raise UserError(f"{path}: no people in it, so that nothing tells the format; found {document}")
    if document is None and path.suffix not in _ENDINGS:
        raise UserError(f"{path}: found a file that ends with '{path.suffix}'; expected {', '.join(_ENDINGS)}")
    raise UserError(f"{path}: {_unknown(document)}")


_LONGEST = 160
"""Characters of a message about an unknown format."""


def _unknown(document: object) -> str:
    """Returns what a document of no known format has, and which format is nearest."""
    record = document[0] if isinstance(document, list) else document
    keys = list(record) if isinstance(record, dict) else []
    if {"persons", "joints", "movement"} <= set(keys):
        return "this is the report of hpr refine; the refined poses are in the folder predictions beside it"
    what = f"a list of {len(document)}" if isinstance(document, list) else fields.summary(document)
    found = f"found {what}{' with ' if keys else ''}{', '.join(map(str, keys))}"
    words = {name: set(re.findall(r"\w+", own.looks_like)) & set(map(str, keys)) for name, own in FORMATS.items()}
    nearest = max(words, key=lambda name: len(words[name]))
    hint = (
        f"nearest is {nearest}: {FORMATS[nearest].looks_like}"
        if words[nearest]
        else "no format has that; docs/formats.md lists them"
    )
    room = _LONGEST - min(len(hint), _LONGEST // 2)
    return f"{found if len(found) <= room else f'{found[: room - 1]}…'}; {hint}"[: _LONGEST + 2]
