"""Where images come from: folders, lists, videos. No other module joins a folder and an image's name."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePath

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.pixels import Image, ImageSource, decode_image, image_size, read_image, reductions_of
from hpr.poses import PICTURE_ENDINGS, Frame, image_stem
from hpr.settings import checked
from hpr.video import VIDEO_ENDINGS, Video

__all__ = ["Image", "ImageFolder", "ImageList", "ImageSource", "decode_image", "open_images", "read_image"]


class _FileSource(ImageSource):
    """A source of image files."""

    @abstractmethod
    def _find(self, name: str) -> Path:
        """Returns the file of an image, or the path where it was expected.

        Raises:
            UserError: The name is refused, or more than one file could be meant.
        """

    def has(self, frame: Frame) -> bool:
        try:
            return _is_file(self._find(frame.image))
        except UserError:
            return False

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        return read_image(self._find(frame.image), reduction)

    def size(self, frame: Frame) -> tuple[int, int]:
        return image_size(self._find(frame.image))

    def reductions(self, frame: Frame) -> tuple[int, ...]:
        return reductions_of(self._find(frame.image))


class ImageFolder(_FileSource):
    """A folder of image files that frames name by their path in it.

    Where there is no file of a name, one with another ending is taken: "a/1" or "a/1.png" may be a/1.jpg.

    Attributes:
        root: The folder.
        outside: Whether a name may lead out of it: by "..", as an absolute path or through a symbolic link.
    """

    def __init__(self, root: str | Path, outside: bool = False) -> None:
        """Takes the folder, which may be absent; see the class for the arguments."""
        self.root, self.outside, self.name = root, outside, str(root)
        self._pictures: dict[Path, dict[str, list[str]]] = {}

    def path(self, name: str) -> Path:
        """Returns where the image of a name would be.

        Raises:
            UserError: That is outside of the folder, which is not allowed, or no file can have such a name.
        """
        path = Path(self.root) / name
        try:
            is_inside = self._is_inside(path)
        except ValueError:  # a zero character, or one that the file system's encoding does not have
            raise UserError(f"{self.root}: no image can have the name {name!r}") from None
        if not (is_inside or self.outside):
            raise UserError(f"{path}: lies outside of {self.root}; if that is meant, add dataset.outside=true")
        return path

    def expected(self, frame: Frame) -> str:
        return str(self._find(frame.image))

    def _is_inside(self, path: Path) -> bool:
        # Compared as real paths, so that neither ".." nor a link is a way out.
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def _find(self, name: str) -> Path:
        path = self.path(name)
        if _is_file(path) or not (self.outside or self._is_inside(path.parent)):
            return path

        others = self._pictures_in(path.parent).get(image_stem(name), [])
        if len(others) > 1:
            raise UserError(f"{path}: no such image, and both {others[0]} and {others[1]} could be meant; name one")
        return self.path(str(PurePath(name).with_name(others[0]))) if others else path

    def _pictures_in(self, folder: Path) -> dict[str, list[str]]:
        """Returns the names of a folder's pictures by their stems; each folder is listed once."""
        if folder not in self._pictures:
            try:
                names = sorted(entry.name for entry in folder.iterdir())
            except OSError:
                names = []

            by_stem: dict[str, list[str]] = {}
            for name in names:
                if PurePath(name).suffix.lower() in PICTURE_ENDINGS:
                    by_stem.setdefault(image_stem(name), []).append(name)
            self._pictures[folder] = by_stem
        return self._pictures[folder]


class ImageList(_FileSource):
    """Picture files that frames name by their path, by the last parts of it, or without the ending.

    Of several pictures, the one whose path has the most parts in common with a name, counted from the end, is taken.
    An empty name means the only picture.
    """

    def __init__(self, paths: Sequence[Path], name: str = "the list of pictures") -> None:
        """Takes the paths, and the name of the list in messages.

        Raises:
            UserError: There are none.
        """
        if not paths:
            raise UserError(f"{name}: expected pictures, found none")
        self.name = name
        self._by_stem: dict[str, list[Path]] = {}
        for path in dict.fromkeys(paths):
            self._by_stem.setdefault(image_stem(path.name), []).append(path)

    def expected(self, frame: Frame) -> str:
        return frame.image or "one picture"

    def _find(self, name: str) -> Path:
        candidates = self._by_stem.get(image_stem(name), [])
        if not name:
            candidates = [path for paths in self._by_stem.values() for path in paths]
        parts = PurePath(name).parts
        lengths = range(1, len(parts) + 1)
        common = [sum(path.parts[-length:] == parts[-length:] for length in lengths) for path in candidates]
        best = [path for path, count in zip(candidates, common, strict=True) if count == max(common)]

        if not best:
            raise UserError(f"{self.name}: no picture is named '{name}', as the poses have it")
        if len(best) > 1:
            raise UserError(f"{self.name}: both {best[0]} and {best[1]} could be '{name}', which the poses name")
        return best[0]


@checked
def open_images(location: str | Path | Sequence[str | Path], outside: bool = False) -> ImageSource:
    """Returns the images at a location: a folder, a video, a picture, or a list of pictures.

    Args:
        location: A path, or several paths of pictures. A .txt file has the path of a picture in each line, relative to
            its own folder.
        outside: See `ImageFolder`.

    Raises:
        UserError: The location is none of these, or cannot be read.
    """
    if not isinstance(location, str | Path):
        return ImageList([Path(path) for path in location], f"the list of {len(location)} pictures")

    path = Path(location)
    ending = path.suffix.lower()
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # the name may be too long for the system
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    if is_folder:
        return ImageFolder(path, outside)
    if ending in VIDEO_ENDINGS:
        return Video(path)
    if ending in PICTURE_ENDINGS:
        read_bytes(path, "image", size=0)  # which checks that there is such a file
        return ImageList([path], str(path))
    if ending == ".txt":
        try:
            lines = read_bytes(path, "list of pictures").decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{path}: cannot be read as UTF-8 text, one path of a picture in each line") from None
        return ImageList([path.parent / line.strip() for line in lines if line.strip()], str(path))
    if exists:
        expected = "a folder, a video such as .mp4, a picture such as .jpg, or a .txt file that lists pictures"
        raise UserError(f"{path}: expected {expected}; found a file that ends in '{path.suffix}'")
    return ImageFolder(path, outside)  # its messages name each image that is missing


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name may be too long for the system
        return False
