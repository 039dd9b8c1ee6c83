"""Which files of a location are read: one after another as sources of their own, or a folder of them as one source."""

from pathlib import Path

from hpr.errors import UserError


def pose_files(location: Path, ending: str = ".json") -> list[Path]:
    """Returns the files of a folder that end so, in the order of their names; of a file, itself.

    Raises:
        UserError: There is no such folder, or no such file in it.
    """
    if location.is_file():
        return [location]
    if not location.is_dir():
        raise UserError(f"{location}: no such file or folder; expected a folder of {ending} files, or one such file")
    paths = sorted(location.glob(f"*{ending}"))
    if not paths:
        count = sum(1 for _ in location.iterdir())
        raise UserError(f"{location}: expected {ending} files in it, found none in {count} entries")
    return paths


def frame_folders(location: Path, ending: str = ".json") -> list[Path]:
    """Returns the sources of a format that has a file for each image: the folder, or the folders in it; a file, itself.

    Raises:
        UserError: There is no such folder, or no such file in it.
    """
    if location.is_dir() and not any(location.glob(f"*{ending}")):
        folders = sorted(path for path in location.iterdir() if path.is_dir() and any(path.glob(f"*{ending}")))
        if folders:
            return folders
    pose_files(location, ending)  # raises where there is none
    return [location.absolute()]
