"""One run in a folder at a time."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hpr.errors import UserError

LOCK = ".lock"

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\.\w+)?")
"""How `hpr.files` names temporary files and folders."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Locks a folder for this run and removes temporary files that a killed run left in it.

    The operating system unlocks the folder when the process ends, however it ends.

    Raises:
        UserError: Another run has locked the folder, or it cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:  # a subclass of OSError
        raise UserError(f"{folder}: another run is at work in it; wait for its end or set another output_dir") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from None

    try:
        for path in [path for path in folder.rglob(".*") if _TEMPORARY.fullmatch(path.name)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                with suppress(OSError):
                    path.unlink()
        yield
        with suppress(OSError):  # Windows does not remove open files
            (folder / LOCK).unlink()
    finally:
        lock.release()
