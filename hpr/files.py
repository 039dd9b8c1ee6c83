"""Reading JSON with one-line errors; writing files that are complete or absent."""

import json
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hpr.errors import UserError


def read_json(path: Path) -> Any:
    """Returns the parsed content of a JSON file.

    Raises:
        UserError: The file is absent, unreadable or not JSON.
    """
    content = read_bytes(path)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: not valid JSON at {where} ({error.msg}); repair or remove the file") from None
    except (ValueError, RecursionError):  # another encoding, a number with thousands of digits, deep nesting
        raise UserError(f"{path}: not a JSON text; repair or remove the file") from None


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        UserError: The file is absent or unreadable.
    """
    try:
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):  # reading a named pipe would wait for ever
            raise UserError(f"{path}: cannot be read (not a file)")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:  # a zero character
        raise UserError(f"{path}: no file can have such a name") from None


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes content as JSON, in one line unless an indentation is given.

    Raises:
        UserError: The file cannot be written.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, separators=separators))


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces it when the block ends without an error.

    Args:
        path: The file to write.
        ending: Ending of the temporary path, for libraries that go by it.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    temporary = _temporary(path, ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):  # it does not exist after success
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a new temporary folder beside `path` that replaces it when the block ends without an error.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    temporary, former = _temporary(path), _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.replace(former)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror or error}); choose another output folder")


def _temporary(path: Path, ending: str = "") -> Path:
    """Returns a path beside another that no other process uses; `runtime.folders` recognises such names."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{ending}")
