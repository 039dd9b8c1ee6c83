"""Where images come from: folders, lists, videos. No other module joins a folder and an image's name."""

import os
import re
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path
from urllib.parse import unquote

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.pixels import Image, ImageSource, decode_image, is_turned, read_header, read_image
from hpr.poses import PICTURE_ENDINGS, Frame, image_stem
from hpr.settings import Orientation, checked
from hpr.video import VIDEO_ENDINGS, Video

__all__ = [
    "Image",
    "ImageFolder",
    "ImageList",
    "ImageSource",
    "are_apart",
    "decode_image",
    "open_images",
    "read_header",
    "read_image",
]

_MAX_FILES = 1_000_000
"""Files below a folder among which an image is looked for."""


class _FileSource(ImageSource):
    """A source of image files.

    Attributes:
        orientation: Whether images are turned as their EXIF orientation says.
    """

    orientation: Orientation = "auto"

    @abstractmethod
    def _find(self, frame: Frame) -> Path:
        """Returns the file of a frame's image, or the path where it was expected.

        Raises:
            UserError: The name is refused, or more than one file could be meant.
        """

    def has(self, frame: Frame) -> bool:
        try:
            return _is_file(self._find(frame))
        except UserError:
            return False

    def expected(self, frame: Frame) -> str:
        return str(self._find(frame))

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        path, _, orientation = self._inspect(frame)
        return read_image(path, reduction, orientation)

    def size(self, frame: Frame) -> tuple[int, int]:
        return self._inspect(frame)[1]

    def _inspect(self, frame: Frame) -> tuple[Path, tuple[int, int], int]:
        """Returns the file of a frame's image, the image's size, and the EXIF orientation by which it is turned."""
        path = self._find(frame)
        stored, orientation = read_header(path)
        turned = stored[::-1] if orientation >= 5 else stored
        if is_turned(self.orientation, frame, stored, turned, default=frame.upright):
            return path, turned, orientation
        return path, stored, 1


class ImageFolder(_FileSource):
    """A folder of image files that frames name by their path in it.

    Where there is no file of a name, one with another ending is taken ("a/1" or "a/1.png" may be a/1.jpg), else the
    only one below the folder that a name of another place can mean; see `_closest`.

    Attributes:
        root: The folder.
        outside: Whether a name may lead out of it: by "..", as an absolute path or through a symbolic link.
    """

    def __init__(self, root: str | Path, outside: bool = False, orientation: Orientation = "auto") -> None:
        """Takes the folder, which may be absent; see the class for the arguments."""
        self.root, self.outside, self.name, self.orientation = root, outside, str(root), orientation
        self._pictures: dict[Path, dict[str, list[Path]]] = {}
        self._real_root = os.path.realpath(root)
        self._found: dict[tuple[str, str], Path] = {}

    def _is_allowed(self, path: Path) -> bool:
        # Compared as real paths, so that neither ".." nor a link is a way out.
        is_inside = Path(os.path.realpath(path)).is_relative_to(self._real_root)
        return is_inside or self.outside

    def _find(self, frame: Frame) -> Path:
        key = frame.image, frame.folder
        if key not in self._found:
            self._found[key] = self._search(frame)
        return self._found[key]

    def _search(self, frame: Frame) -> Path:
        name = frame.image
        is_bare = len(_parts(name)) == 1
        tries = [f"{frame.folder}/{name}"] if is_bare and frame.folder else []
        try:
            found = next(filter(None, map(self._at, [*tries, name, name.replace("\\", "/")])), None)
            if found is None and not _is_foreign(name):
                self._missing(name)  # refuses ../a.jpg if it is there, rather than take another a.jpg
            return found or self._below(frame) or self._missing(name)
        except ValueError:  # a zero character, or one that the file system's encoding does not have
            raise UserError(f"{self.root}: no image can have the name {name!r}") from None

    def _at(self, name: str) -> Path | None:
        """Returns the picture at a path in the folder, maybe with another ending."""
        path = Path(self.root) / name
        if _is_file(path):
            return path if self._is_allowed(path) else None
        if not self._is_allowed(path.parent):
            return None

        others = self._pictures_in(path.parent).get(image_stem(name), [])
        if len(others) > 1:
            both = f"both {others[0].name} and {others[1].name}"
            raise UserError(f"{path}: no such image, and {both} could be meant; name one")
        return others[0] if others and _is_file(others[0]) and self._is_allowed(others[0]) else None

    def _below(self, frame: Frame) -> Path | None:
        """Returns the only picture anywhere below the folder that a name can mean."""
        parts = _parts(frame.image)
        if not parts:
            return None
        root = Path(self.root)
        candidates = self._tree.get(image_stem(parts[-1]), [])
        best = _closest(frame, candidates, is_strict=True)
        if not best and _is_foreign(frame.image):
            best = _closest(frame, candidates, is_strict=False)
        best = [path for path in best if self._is_allowed(root / path)]
        if len(best) > 1:
            both = f"both {root / best[0]} and {root / best[1]}"
            raise UserError(f"{root / frame.image}: no such image, and {both} could be meant")
        return root / best[0] if best else None

    def _missing(self, name: str) -> Path:
        """Returns where an image was expected; refuses a name that leads out of the folder, if there is an image."""
        path = Path(self.root) / name
        if not self._is_allowed(path) and ImageFolder(self.root, outside=True)._at(name):
            raise UserError(f"{path}: lies outside of {self.root}; if that is meant, add outside=true")
        return path

    def _pictures_in(self, folder: Path) -> dict[str, list[Path]]:
        """Returns a folder's pictures by their stems; each folder is listed once."""
        if folder not in self._pictures:
            try:
                self._pictures[folder] = _by_stem(sorted(folder.iterdir()))
            except OSError:
                self._pictures[folder] = {}
        return self._pictures[folder]

    @cached_property
    def _tree(self) -> dict[str, list[Path]]:
        """All pictures below the folder, by their stems, as paths in it."""
        walk = ((Path(folder).relative_to(self.root), names) for folder, _, names in os.walk(self.root))
        return _by_stem(islice((folder / name for folder, names in walk for name in names), _MAX_FILES))


class ImageList(_FileSource):
    """Picture files that frames name by their path, by the last parts of it, or without the ending.

    Of several pictures, the one whose path has the most parts in common with a name, counted from the end, is taken.
    An empty name means the only picture.
    """

    def __init__(
        self, paths: Sequence[Path], name: str = "the list of pictures", orientation: Orientation = "auto"
    ) -> None:
        """Takes the paths, and the name of the list in messages.

        Raises:
            UserError: There are none.
        """
        if not paths:
            raise UserError(f"{name}: expected pictures, found none")
        self.name, self.orientation = name, orientation
        self._paths = list(dict.fromkeys(paths))
        self._by_stem = _by_stem(self._paths, every=True)

    def _find(self, frame: Frame) -> Path:
        name, parts = frame.image, _parts(frame.image)
        candidates = self._by_stem.get(image_stem(parts[-1]), []) if parts else self._paths
        best = _closest(frame, candidates, is_strict=False)
        if not best:
            raise UserError(f"{self.name}: no picture is named '{name}', as the poses have it")
        if len(best) > 1:
            raise UserError(f"{self.name}: both {best[0]} and {best[1]} could be '{name}', which the poses name")
        return best[0]


# Names


def _parts(name: str) -> list[str]:
    r"""Returns the parts of a path of any system, or of a URL.

    >>> _parts("C:\\data\\a.jpg"), _parts("https://host/my%20photo.jpg?raw=1")
    (['C:', 'data', 'a.jpg'], ['host', 'my photo.jpg'])
    """
    if "://" in name:
        name = unquote(re.split("[?#]", name.partition("://")[2])[0])
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")  # macOS takes letters and accents apart
    return [part for part in parts if part not in ("", ".", "..")]


def _is_foreign(name: str) -> bool:
    """Returns whether a name is an absolute path of some system, or a URL."""
    return "://" in name or bool(re.match(r"[/\\]|[A-Za-z]:[/\\]", name))


def _by_stem(paths: Iterable[Path], every: bool = False) -> dict[str, list[Path]]:
    """Returns the pictures among some paths by their stems; `every` path is one whatever its ending."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        if every or path.suffix.lower() in PICTURE_ENDINGS:
            found.setdefault(image_stem(unicodedata.normalize("NFC", path.name)), []).append(path)
    return found


def _folders_in_common(folders: Sequence[str], others: Sequence[str]) -> int:
    """Returns how many names of folders are the same, counted from the last."""
    pairs = zip(reversed(folders), reversed(others), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def are_apart(name: str, other: str) -> bool:
    """Returns whether names of images are of different folders, not one the end of the other."""
    folders, others = _parts(name)[:-1], _parts(other)[:-1]
    return _folders_in_common(folders, others) < min(len(folders), len(others))


def _closest(frame: Frame, candidates: Sequence[Path], is_strict: bool) -> list[Path]:
    """Returns the paths, of one stem, that have the most parts in common with a frame's name, counted from the end.

    Args:
        frame: The frame. A name without folders is looked for in the one that is named as the file of poses.
        candidates: The paths.
        is_strict: Whether all folders of the name, or of the path, have to be in common: clip_a/1.jpg is not clip_b's.
    """
    parts, ranks = _parts(frame.image), {}
    for path in candidates:
        if is_strict and are_apart(frame.image, str(path)):
            continue
        common = _folders_in_common(parts[:-1] or [frame.folder], path.parts[:-1])
        ranks[path] = (common, unicodedata.normalize("NFC", path.name) == "".join(parts[-1:]))
    highest = max(ranks.values(), default=None)
    return sorted(path for path, rank in ranks.items() if rank == highest)


@checked
def open_images(
    location: str | Path | Sequence[str | Path], outside: bool = False, orientation: Orientation = "auto"
) -> ImageSource:
    """Returns the images at a location: a folder, a video, a picture, or a list of pictures.

    Args:
        location: A path, or several paths of pictures. A .txt file has the path of a picture in each line, relative to
            its own folder.
        outside: See `ImageFolder`.
        orientation: Whether coordinates are of pictures as EXIF (in videos: the rotation mark) turns them, "exif", or
            as they are "stored"; "auto" goes by the sizes that frames have, then by their format.

    Raises:
        UserError: The location is none of these, or cannot be read.
    """
    if not isinstance(location, str | Path):
        return ImageList([Path(path) for path in location], f"the list of {len(location)} pictures", orientation)

    path = Path(location)
    ending = path.suffix.lower()
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # the name may be too long for the system
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    if is_folder:
        return ImageFolder(path, outside, orientation)
    if ending in VIDEO_ENDINGS:
        return Video(path, orientation)
    if ending in PICTURE_ENDINGS:
        read_bytes(path, "image", size=0)  # which checks that there is such a file
        return ImageList([path], str(path), orientation)
    if ending == ".txt":
        try:
            lines = read_bytes(path, "list of pictures").decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{path}: cannot be read as UTF-8 text, one path of a picture in each line") from None
        return ImageList([_listed(path.parent, line.strip()) for line in lines if line.strip()], str(path), orientation)
    if exists:
        expected = "a folder, a video such as .mp4, a picture such as .jpg, or a .txt file that lists pictures"
        raise UserError(f"{path}: expected {expected}; found a file that ends in '{path.suffix}'")
    return ImageFolder(path, outside, orientation)  # its messages name each image that is missing


def _listed(folder: Path, line: str) -> Path:
    """Returns the path in a line of a list of pictures, which may be written on Windows."""
    path = folder / line
    return path if _is_file(path) else folder / line.replace("\\", "/")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name may be too long for the system
        return False
