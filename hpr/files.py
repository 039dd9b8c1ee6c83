"""Reading JSON with one-line errors; writing files that are complete or absent."""

import gc
import json
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hpr.errors import UserError


def name_without_ending(path: Path) -> str:
    """Returns the name of a file without its ending, or the whole name of a folder, whose dots begin no ending."""
    return path.name if path.is_dir() else path.stem


def read_json(path: Path) -> Any:
    """Returns the parsed content of a JSON file.

    Raises:
        UserError: The file is absent, unreadable or not JSON.
    """
    content = read_bytes(path)
    try:
        with paused_collector():
            if not _may_have_large_integers(content):
                with suppress(orjson.JSONDecodeError):  # NaN, which orjson refuses, or a mistake, which is told below
                    return orjson.loads(content)
            return json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: not valid JSON at {where} ({error.msg}); repair or remove the file") from None
    except (ValueError, RecursionError):  # another encoding, a number with thousands of digits, deep nesting
        raise UserError(f"{path}: not a JSON text; repair or remove the file") from None


def _may_have_large_integers(content: bytes) -> bool:
    """Returns whether there may be integers of more than 64 bits, which orjson reads as floats.

    They have at least 19 digits, and so four aligned words of four characters from "0" to "?".
    """
    words = np.frombuffer(content, np.uint32, len(content) // 4)
    is_digits = (words & 0xF0F0F0F0) == 0x30303030
    return bool((is_digits[:-3] & is_digits[1:-2] & is_digits[2:-1] & is_digits[3:]).any())


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pauses the garbage collector, which takes half of the time in which millions of lists are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_bytes(path: Path, kind: str = "file", size: int = -1) -> bytes:
    """Returns the content of a file.

    Args:
        path: The file.
        kind: What messages call it, such as "image".
        size: Number of bytes to read from its beginning; -1 for all.

    Raises:
        UserError: The file is absent, not a regular file, or unreadable.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a named pipe would wait for ever
            raise UserError(f"{path}: cannot be read (not a file)")
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such {kind}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:  # a zero character
        raise UserError(f"{path}: no file can have such a name") from None


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes content as JSON, in one line unless an indentation is given; an iterator of it becomes a list.

    Raises:
        UserError: The file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        if indent is None:
            file.writelines(_json_parts(content))
        else:
            file.write(json.dumps(content, indent=indent).encode())


_ITEMS_AT_ONCE = 1000


def _json_parts(content: Any) -> Iterator[bytes]:
    """Yields JSON in parts: the text of a whole file would take as much memory as what it says."""
    if isinstance(content, dict):
        yield b"{"
        for i, (key, value) in enumerate(content.items()):
            yield (b"," if i else b"") + _json({key: 0})[1:-2]  # "key":
            yield from _json_parts(value) if isinstance(value, list | Iterator) else [_json(value)]
        yield b"}"
    elif isinstance(content, list | Iterator):
        yield b"["
        items, separator = iter(content), b""
        while some := list(islice(items, _ITEMS_AT_ONCE)):
            yield separator + _json(some)[1:-1]
            separator = b","
        yield b"]"
    else:
        yield _json(content)


def _json(value: Any) -> bytes:
    """Returns JSON in ASCII, by the fast library where that writes the same as the standard one."""
    with suppress(TypeError):  # a whole number of more than 64 bits, a key that is no text, deep nesting
        text = orjson.dumps(value)
        if text.isascii() and b"null" not in text:  # it writes null for NaN
            return text
    return json.dumps(value, separators=(",", ":")).encode()


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
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); choose another output folder") from None
    finally:
        with suppress(OSError):  # it does not exist after success
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a new temporary folder beside `path` that replaces it when the block ends without an error.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    former = _temporary(path)
    with replacing(path) as temporary:
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():
                path.replace(former)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    shutil.rmtree(former, ignore_errors=True)


def _temporary(path: Path, ending: str = "") -> Path:
    """Returns a path beside another that no other process uses; `runtime.folders` recognises such names."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{ending}")
