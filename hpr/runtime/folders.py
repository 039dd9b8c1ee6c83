"""One run in a folder at a time."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpr.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind; runs are on their own there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\.\w+)?")
"""What `hpr.files` names its temporary files and folders."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps a folder for this run, and sweeps up the temporary files that a killed one left in it.

    The system gives the folder free when the process ends, however it ends.

    Raises:
        UserError: Another run is at work in the folder, or it cannot be written to.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from None
    try:
        _lock(descriptor, folder)
        _sweep(folder)
        yield
        with suppress(OSError):
            path.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"{folder}: another run is at work in it; wait for its end or set another output_dir") from None


def _sweep(folder: Path) -> None:
    for path in list(folder.rglob(".*")):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file():
            with suppress(OSError):
                path.unlink()
