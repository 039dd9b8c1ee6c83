"""Continuing a run: which files earlier runs of the same command have finished."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.refine.files import PoseFile
from hpr.refine.tally import Tally

FOLDER = ".journal"


def content_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        UserError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for inner in sorted(inner for inner in path.iterdir() if inner.is_file()):
                digest.update(f"{inner.name}\0{content_hash(inner)}\0".encode(errors="surrogateescape"))
        else:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


class Journal:
    """One JSON file for each finished file of poses, so that several processes can write them."""

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        """Opens the journal of an output folder.

        Args:
            output: Folder of the run; the refined files are in its folder `predictions`.
            settings: Everything that the results depend on, other than the files of poses and their images.
        """
        self._output = output
        self._settings = json.dumps(settings, sort_keys=True)

    def finished(self, file: PoseFile) -> dict[str, Tally] | None:
        """Returns the tally of each sequence of a finished file, by name; None if the file has to be refined.

        A file is finished if no pose in it failed, and neither the file nor its result has changed since.

        Raises:
            UserError: It was refined with other settings.
        """
        try:
            entry = read_json(self._entry(file))
            settings, hashes = entry["settings"], [entry["input"], entry["output"]]
            tallies = {name: Tally.from_entry(counts) for name, counts in entry["sequences"].items()}
        except (UserError, AttributeError, KeyError, TypeError, ValueError):  # absent or damaged
            return None

        if any(tally.failed for tally in tallies.values()):
            return None
        if settings != self._settings:
            raise UserError(
                f"{self._output}: {file.path.name} was refined with other settings or weights; "
                "set another output_dir, or overwrite=true to refine all anew"
            )
        if not self._result(file).exists() or hashes != [content_hash(file.path), content_hash(self._result(file))]:
            return None
        return tallies

    def note(self, file: PoseFile, tallies: Mapping[str, Tally]) -> None:
        """Enters a file whose result has been written, with the tally of each of its sequences."""
        entry = {
            "settings": self._settings,
            "input": content_hash(file.path),
            "output": content_hash(self._result(file)),
            "sequences": {name: tally.as_entry() for name, tally in tallies.items()},
        }
        write_json(self._entry(file), entry)

    def _entry(self, file: PoseFile) -> Path:
        return self._output / FOLDER / file.path.name

    def _result(self, file: PoseFile) -> Path:
        return self._output / "predictions" / file.output_name
