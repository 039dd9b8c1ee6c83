"""Wild images and wild poses: a crop, a pose that passes through, or a refusal in one line."""

import base64
import random
import struct
import zlib
from collections.abc import Callable
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from fuzz.trials import Outcome, Result, put_something_else, refused
from numpy.typing import NDArray

from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.images import Image, ImageFolder
from hpr.models.registry import build_network
from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import PersonKey, RefinedPose
from hpr.skeleton import POSETRACK15

_NAME = "image"

# 8 x 8 pixels in four channels, which OpenCV cannot write.
_CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpxkHNbXYW1hpCeo6ut"
    "q2eAvMm6pseZqKuk/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAAB/8QAFxAAAwEAAAAAAAAAAAAA"
    "AAAAAAMFYv/aAA4EQwBNAFkASwAAPwAy7sMu7DLuyMu7P//Z"
)

_ODD_COORDINATES = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e18, -1e6, -501, -499, 0, -0.0, 5e-324, 1e5, 2**31)


class ImageTrials:
    """Mutated images, and poses in them that may be anywhere."""

    per_child = 200

    def __init__(self, seed: int, architecture: str = "demo") -> None:
        """Prepares tries.

        Args:
            seed: Of all draws.
            architecture: Of the network that the images are cropped for; its weights play no part.
        """
        self._seed, self._architecture = seed, architecture

    @cached_property
    def _refiners(self) -> list[PoseRefiner]:
        """One for each rule of scale; made in the child, as threads of PyTorch's would not survive a fork."""
        cv2.setNumThreads(0)
        network = build_network(self._architecture, POSETRACK15)
        return [PoseRefiner(network, "cpu", scale=scale) for scale in get_args(ScaleRule)]

    def subject(self, number: int) -> str:
        """See `Trials`."""
        return _FORMS[number % len(_FORMS)]

    def seconds(self, number: int) -> float:
        """See `Trials`."""
        return 60

    def late(self, number: int) -> Result:
        """See `Trials`."""
        return Result(self.subject(number), Outcome.DEFECT, "it hangs")

    def make(self, number: int, folder: Path) -> FloatArray:
        """See `Trials`; returns poses (N, 15, 2) for the image."""
        draw = random.Random(f"{self._seed} image {number}")
        size = (draw.choice((1, 2, 7, 8, 9, 64, 333, 640)), draw.choice((1, 2, 7, 8, 9, 64, 251, 480)))
        content = _encoded(self.subject(number), size, draw)
        for _ in range(draw.choice((0, 0, 1, 1, 1, 3))):
            content = _mutated(content, draw)
        path = folder / _NAME
        if draw.random() < 0.02:
            put_something_else(path, draw)
        else:
            path.write_bytes(content)
        return np.array([_pose(size, draw) for _ in range(3)])

    def attempt(self, number: int, folder: Path) -> Result:
        """See `Trials`."""
        subject, keypoints = self.subject(number), self.make(number, folder)
        images, frame = ImageFolder(folder), Frame(_NAME, POSETRACK15, keypoints)
        images.has(frame)
        size: tuple[int, int] | None = None
        try:
            size = images.size(frame)
        except UserError as error:
            result = refused(subject, error)
            if result.outcome is Outcome.DEFECT:
                return result
        try:
            image = images.read(frame)
        except UserError as error:
            return refused(subject, error)
        problem = self._problem(image, size, frame.poses)
        return Result(subject, Outcome.ACCEPTED) if problem is None else Result(subject, Outcome.DEFECT, problem)

    def _problem(self, image: Image, size: tuple[int, int] | None, poses: FloatArray) -> str | None:
        """Returns what is wrong with an image, the size said of it, or what is made of poses (N, 15, 2) in it."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            return f"the image is {image.dtype} of shape {image.shape}"
        if size != (image.shape[1], image.shape[0]):
            return f"the image is of shape {image.shape}, its size is said to be {size}"
        for refiner, pose in product(self._refiners, poses):
            person = refiner.crop_person(image, pose, PersonKey(FrameKey(0, 0), 0))
            if isinstance(person, RefinedPose):
                continue
            if person.pixels.shape != (person.crop.height, person.crop.width, 3):
                return f"the crop is of shape {person.pixels.shape}, its box {person.crop.box}"
            back = person.crop.to_image(person.crop.to_crop(pose))
            if not np.allclose(back, pose, rtol=1e-6, atol=1e-3, equal_nan=True):
                return f"{pose.tolist()} came back as {back.tolist()}"
        return None


_STARTS = (b"", b"\0", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM")

_FORMS = (
    *("jpg", "jpg grey", "jpg cmyk", "png", "png grey", "png alpha", "png 16 bit", "png grey 16 bit"),
    *("bmp", "gif", "webp", "tiff", "tiff float", "ppm", "jp2", "avif"),
)


def _encoded(form: str, size: tuple[int, int], draw: random.Random) -> bytes:
    """Returns an image file of a width and height."""
    if form == "jpg cmyk":
        return _CMYK_JPEG
    ending, _, kind = form.partition(" ")
    noise = np.random.default_rng(draw.randrange(2**32))
    shape = (size[1], size[0]) if "grey" in kind else (size[1], size[0], 4 if kind == "alpha" else 3)
    pixels: NDArray[Any] = noise.integers(0, 256, shape, dtype=np.uint8)
    if "16 bit" in kind:
        pixels = pixels.astype(np.uint16) * 257
    elif kind == "float":
        pixels = pixels.astype(np.float32) / np.float32(draw.choice((1, 255, 1e-30)))
    try:
        done, encoded = cv2.imencode(f".{ending}", pixels)
    except cv2.error:  # a build of OpenCV without that form
        return b"no such form"
    return encoded.tobytes() if done else b"no such form"


def _mutated(content: bytes, draw: random.Random) -> bytes:
    place, other = draw.randint(0, len(content)), draw.randint(0, len(content))
    low, high = min(place, other), max(place, other)
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: _flipped(content, draw, len(content)),
        lambda: _flipped(content, draw, len(content)),
        lambda: _flipped(content, draw, 64),
        lambda: _resized(content, draw),
        lambda: _resized(content, draw),
        lambda: content[:place],
        lambda: content[:low] + content[high:],
        lambda: content[:high] + content[low:high] + content[high:],
        lambda: content[:place] + draw.randbytes(8) + content[place:],
        lambda: content + draw.randbytes(100),
        lambda: content[: min(64, place)] + draw.randbytes(200),
        lambda: draw.choice(_STARTS),
    )
    return draw.choice(makers)()


def _flipped(content: bytes, draw: random.Random, end: int) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3, 20)) if changed else 0):
        changed[draw.randrange(min(end, len(changed)))] = draw.randrange(256)
    return bytes(changed)


def _resized(content: bytes, draw: random.Random) -> bytes:
    """Returns an image whose header says another size."""
    width, height = (draw.choice((0, 1, 65535, 20_000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    if content[:4] == b"\x89PNG" and len(content) > 33:
        header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    if content[:2] == b"BM":
        return content[:18] + struct.pack("<II", width, height) + content[26:]
    if content[:3] == b"GIF":
        return content[:6] + struct.pack("<HH", width % 65536, height % 65536) + content[10:]
    if content[:2] == b"\xff\xd8":
        place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
        return content[:place] + struct.pack(">HH", height % 65536, width % 65536) + content[place + 4 :]
    return content[:10] + struct.pack(">I", width) + content[14:]


def _pose(size: tuple[int, int], draw: random.Random) -> FloatArray:
    """Returns a pose (15, 2) in or about an image, or with odd coordinates."""
    spread = draw.choice((0.0, 0.5, 1.0, 3.0, 1000.0))
    noise = np.random.default_rng(draw.randrange(2**32))
    pose = np.array(size) / 2 + spread * np.array(size) * noise.uniform(-1, 1, (15, 2))
    pose[noise.random(15) < draw.choice((0, 0.3, 0.95))] = np.nan
    odd = noise.random((15, 2)) < draw.choice((0, 0, 0.05, 0.9))
    pose[odd] = noise.choice(np.array(_ODD_COORDINATES, np.float64), int(odd.sum()))
    return pose
