"""Wild images and wild poses: a crop, a pose that is left as it is, or a refusal in one line."""

import io
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, get_args

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import RANDOM, mutated_bytes, put_something_else, spoil, try_often, unless_refused

from hpr.crops import ScaleRule
from hpr.images import ImageFolder
from hpr.models.registry import build_network
from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import PersonKey
from hpr.skeleton import POSETRACK15

FORMS = (
    *("jpg", "jpg grey", "jpg cmyk", "png", "png grey", "png alpha", "png 16 bit", "png grey 16 bit"),
    *("bmp", "gif", "webp", "tiff", "tiff float", "ppm", "jp2", "avif"),
)

ARGUMENTS: dict[str, Any] = {"form": st.sampled_from(FORMS), "seed": st.integers(0, 2**32), "draw": RANDOM}


@cache
def refiners() -> list[PoseRefiner]:
    """One for each rule of scale; the weights play no part."""
    network = build_network("demo", POSETRACK15)
    return [PoseRefiner(network, "cpu", scale=scale) for scale in get_args(ScaleRule)]


def encoded(form: str, size: tuple[int, int], seed: int) -> bytes:
    """Returns an image file of a width and height."""
    ending, _, kind = form.partition(" ")
    shape = (size[1], size[0]) if "grey" in kind else (size[1], size[0], 4 if kind in ("alpha", "cmyk") else 3)
    pixels: NDArray[Any] = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if kind == "cmyk":
        PIL.Image.fromarray(pixels, "CMYK").save(buffer := io.BytesIO(), "jpeg")
        return buffer.getvalue()
    if "16 bit" in kind:
        pixels = pixels.astype(np.uint16) * 257
    elif kind == "float":
        pixels = pixels.astype(np.float32) / np.float32((1, 255, 1e-30)[seed % 3])
    try:
        done, content = cv2.imencode(f".{ending}", pixels)
    except cv2.error:  # a build of OpenCV without that form
        return b"no such form"
    return content.tobytes() if done else b""


def resized(content: bytes, draw: Random) -> bytes:
    """Returns an image whose header says another size."""
    width, height = (draw.choice((0, 1, 65535, 20_000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    if content[:4] == b"\x89PNG" and len(content) > 33:
        header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    if content[:2] == b"\xff\xd8":
        start = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
        return content[:start] + struct.pack(">HH", height % 65536, width % 65536) + content[start + 4 :]
    return content[:18] + struct.pack("<II", width, height) + content[26:]  # as .bmp files have it


def drawn_pose(size: tuple[int, int], draw: np.random.Generator) -> FloatArray:
    """Returns a pose (15, 2) in or about an image, or with odd coordinates."""
    pose = np.array(size) * (0.5 + draw.choice((0.0, 0.5, 1.0, 3.0, 1000.0)) * draw.uniform(-1, 1, (15, 2)))
    pose[draw.random(15) < draw.choice((0, 0.3, 0.95))] = np.nan
    spoil(pose, draw)
    return np.asarray(pose)


def attempt(form: str, seed: int, draw: Random) -> str:
    """Reads a mutated image and crops three poses from it; returns whether it was "read" or "refused"."""
    size = (draw.choice((1, 2, 7, 8, 9, 64, 333, 640)), draw.choice((1, 2, 7, 8, 9, 64, 251, 480)))
    content = encoded(form, size, seed)
    for _ in range(draw.choice((0, 0, 1, 1, 1, 3))):
        content = draw.choice((resized, mutated_bytes, mutated_bytes))(content, draw)
    poses = np.array([drawn_pose(size, np.random.default_rng((seed, i))) for i in range(3)])

    with tempfile.TemporaryDirectory() as folder:
        if draw.random() < 0.02:
            put_something_else(Path(folder) / "image", draw)
        else:
            (Path(folder) / "image").write_bytes(content)
        images, frame = ImageFolder(folder), Frame("image", POSETRACK15, poses)
        images.has(frame)
        said = unless_refused(lambda: images.size(frame))
        image = unless_refused(lambda: images.read(frame))

    if image is None:
        return "refused"
    assert image.dtype == np.uint8
    assert (said, 3) == (image.shape[1::-1], image.shape[2])
    for refiner in refiners():
        for index, pose in enumerate(frame.poses):
            person = refiner.crop_person(image, pose, PersonKey(FrameKey(0, 0), index))
            if isinstance(person, PersonCrop):
                assert person.pixels.shape == (person.crop.height, person.crop.width, 3)
                back = person.crop.to_image(person.crop.to_crop(pose))
                np.testing.assert_allclose(back, pose, rtol=1e-6, atol=1e-3)
    return "read"


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_images_are_read_or_refused() -> None:
    counts = try_often(attempt, 80, **ARGUMENTS)
    assert min(counts["read"], counts["refused"]) > 10


def test_a_failing_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoseRefiner, "crop_person", None)
    with pytest.raises(TypeError, match="not callable"):
        try_often(attempt, 20, **ARGUMENTS)
