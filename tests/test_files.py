from pathlib import Path

import cv2
import numpy as np
import pytest

from hpr.errors import UserError
from hpr.files import read_image, replacing, write_json


def test_write_json_is_indented_by_four(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"b": [1]})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n    "b": [\n        1\n    ]\n}'


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new, but only ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_rgb(channels: int, tmp_path: Path) -> None:
    pixels = np.full((4, 6, channels), [[[10, 20, 30, 255][:channels]]], np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (4, 6, 3)
    assert image[0, 0].tolist() == ([10, 10, 10] if channels == 1 else [30, 20, 10])


def test_image_with_a_name_beyond_ascii(tmp_path: Path) -> None:
    cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tofile(tmp_path / "bild–ä 1.png")
    assert read_image(tmp_path / "bild–ä 1.png").shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no such image", id="absent"),
        pytest.param(b"", "not an image", id="empty"),
        pytest.param(b"hello", "not an image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "not an image", id="header alone"),
    ],
)
def test_unreadable_images(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_image(tmp_path / "a.png")


def test_folder_in_place_of_an_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path)


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_truncated_image(form: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    encoded = cv2.imencode(f".{form}", noise)[1]
    encoded[: len(encoded) // 2].tofile(tmp_path / "a")
    with pytest.raises(UserError, match="not an image"):
        read_image(tmp_path / "a")
