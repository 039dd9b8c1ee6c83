"""Reading JSON and images with errors a user can act on; writing files that are complete or absent."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError


def read_json(path: Path) -> Any:
    """Returns the parsed content of a JSON file.

    Raises:
        UserError: The file is absent, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: not valid JSON at {where} ({error.msg}); repair or remove the file") from None
    except (UnicodeDecodeError, RecursionError):
        raise UserError(f"{path}: not a JSON text; repair or remove the file") from None


def json_files(folder: Path, setting: str) -> list[Path]:
    """Returns the .json files of a folder in the order of their names; of a file, itself.

    Args:
        folder: The folder, or one file.
        setting: The setting that named it, for the message.

    Raises:
        UserError: There is no such folder, or no .json file in it.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UserError(f"{setting}={folder}: no such folder; set it to a folder of .json files")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        count = sum(1 for _ in folder.iterdir())
        raise UserError(f"{setting}={folder}: expected .json files in it, found none in {count} entries")
    return paths


def write_json(path: Path, content: Any) -> None:
    """Writes content as JSON indented by 4, as the published code does."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block ends without an error.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); choose another output folder") from None
    finally:
        with suppress(OSError):  # it is gone where all went well
            temporary.unlink()


def read_image(path: Path) -> NDArray[np.uint8]:
    """Returns an image as (H, W, 3) RGB, in the orientation its pixels are stored in.

    Pose files hold coordinates of the stored pixels, so an EXIF orientation is ignored.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return decode_image(encoded)
    except ValueError:
        raise UserError(f"{path}: not an image that OpenCV can decode") from None


def decode_image(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decodes the bytes (n,) of an image file to (H, W, 3) RGB.

    Raises:
        ValueError: They are not an image that OpenCV can decode.
    """
    image = None
    if encoded.size:
        with suppress(cv2.error):  # raised for images above OpenCV's own pixel limit
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("not an image that OpenCV can decode")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
