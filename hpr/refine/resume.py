"""What earlier runs have finished in a folder, so that the same command can go on instead of beginning anew."""

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
            for inner in sorted(path.iterdir()):
                if inner.is_file():
                    digest.update(f"{inner.name}\0{content_hash(inner)}\0".encode(errors="surrogateescape"))
            return digest.hexdigest()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


class Journal:
    """One small file for each finished file of poses: from what, by what and with what result.

    Entries are files of their own, so that several processes can write them, and complete or absent like all others.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        """Opens the journal of a folder.

        Args:
            output: The folder of the run; the refined files are in `predictions` in it.
            settings: All that the results depend on, besides the files of poses and their images.
        """
        self._output, self._folder = output, output / FOLDER
        self._settings = json.dumps(settings, sort_keys=True)

    def finished(self, file: PoseFile) -> dict[str, Tally] | None:
        """Returns what happened in each sequence of a file that is finished; None if it has to be refined.

        A file is finished if it and its result are what they were, and no pose failed.

        Raises:
            UserError: It was refined with other settings.
        """
        entry = self._entry(file)
        if entry is None or any(tally.failed for tally in entry["tallies"].values()):
            return None
        if entry["settings"] != self._settings:
            raise UserError(
                f"{self._output}: {file.path.name} was refined with other settings or weights; "
                "set another output_dir, or overwrite=true to refine all anew"
            )
        result = self._result(file)
        if entry["input"] != content_hash(file.path) or not result.exists() or entry["output"] != content_hash(result):
            return None
        tallies: dict[str, Tally] = entry["tallies"]
        return tallies

    def note(self, file: PoseFile, tallies: Mapping[str, Tally]) -> None:
        """Enters a file whose result has been written, and what happened in each of its sequences."""
        entry = {
            "settings": self._settings,
            "input": content_hash(file.path),
            "output": content_hash(self._result(file)),
            "sequences": {name: tally.as_entry() for name, tally in tallies.items()},
        }
        write_json(self._folder / file.path.name, entry)

    def _entry(self, file: PoseFile) -> dict[str, Any] | None:
        """Returns what stands about a file; None for a file without an entry or with a damaged one."""
        try:
            entry = read_json(self._folder / file.path.name)
            tallies = {name: Tally.from_entry(counts) for name, counts in entry["sequences"].items()}
            return {**{key: entry[key] for key in ("settings", "input", "output")}, "tallies": tallies}
        except (UserError, AttributeError, KeyError, TypeError, ValueError):  # absent, or not what `note` wrote
            return None

    def _result(self, file: PoseFile) -> Path:
        return self._output / "predictions" / file.path.name
