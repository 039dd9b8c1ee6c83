"""Where pixels come from: folders of images, and what OpenCV makes of a file."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpr.errors import UserError
from hpr.images import ImageFolder, decode_image, read_image


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


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an image that OpenCV can decode"):
        decode_image(np.frombuffer(content, np.uint8))


def picture(path: Path, shade: int) -> None:
    """Writes an image of one pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((1, 1, 3), shade, np.uint8))


class TestImageFolder:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A folder of images that have 1 as their shade, beside one with others."""
        root = tmp_path / "root"
        picture(root / "a.png", 1)
        picture(root / "clip" / "b.png", 1)
        picture(tmp_path / "beside.png", 2)
        picture(tmp_path / "root2" / "c.png", 2)
        (root / "link.png").symlink_to(tmp_path / "beside.png")
        (root / "links").symlink_to(tmp_path / "root2")
        (root / "inner.png").symlink_to("clip/b.png")
        (root / "nowhere.png").symlink_to(tmp_path / "gone.png")
        return root

    @pytest.mark.parametrize(
        "name",
        ["a.png", "clip/b.png", "clip/../a.png", "./clip//b.png", "../root/a.png", "inner.png", "{root}/a.png"],
    )
    @pytest.mark.parametrize("outside", [False, True])
    def test_names_that_stay_inside(self, name: str, outside: bool, root: Path) -> None:
        images, name = ImageFolder(root, outside), name.format(root=root)
        assert images.has(name)
        assert images.path(name) == root / name
        assert images.read(name).tolist() == [[[1, 1, 1]]]

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("../beside.png", id="one up"),
            pytest.param("../root2/c.png", id="into a folder whose name begins alike"),
            pytest.param("clip/../../beside.png", id="down and up"),
            pytest.param("{root}/../beside.png", id="absolute and up"),
            pytest.param("{outside}/beside.png", id="absolute"),
            pytest.param("link.png", id="through a link to a file"),
            pytest.param("links/c.png", id="through a link to a folder"),
        ],
    )
    def test_names_that_lead_out(self, name: str, root: Path) -> None:
        images, name = ImageFolder(root), name.format(root=root, outside=root.parent)
        assert not images.has(name)
        for find in (images.path, images.read):
            with pytest.raises(UserError) as error:
                find(name)
            expected = f"lies outside of {root}; if that is meant, add dataset.outside=true"
            assert str(error.value) == f"{root / name}: {expected}"
            assert "\n" not in str(error.value)
        allowed = ImageFolder(root, outside=True)
        assert allowed.has(name)
        assert allowed.read(name).tolist() == [[[2, 2, 2]]]

    def test_there_is_nothing_to_be_learnt_of_files_outside(self, root: Path) -> None:
        """What is not there is refused in the same words."""
        for name in ("../gone.png", "/no/where.png", "nowhere.png"):
            with pytest.raises(UserError, match="lies outside of"):
                ImageFolder(root).read(name)
            with pytest.raises(UserError, match="no such image"):
                ImageFolder(root, outside=True).read(name)

    def test_the_folder_itself_may_be_a_link(self, root: Path) -> None:
        link = root.parent / "link"
        link.symlink_to(root)
        images = ImageFolder(link)
        assert images.read("clip/b.png").tolist() == [[[1, 1, 1]]]
        assert images.has(f"{link}/a.png")
        assert images.has(f"{root}/a.png")
        assert not images.has("../beside.png")
        assert not images.has("link.png")

    def test_the_folder_may_be_relative(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root)
        for relative in (Path(), Path("clip/..")):
            images = ImageFolder(relative)
            assert images.read("a.png").tolist() == [[[1, 1, 1]]]
            assert not images.has("../beside.png")

    def test_the_folder_may_be_the_root_of_all(self, root: Path) -> None:
        assert ImageFolder(Path("/")).has(str(root / "link.png"))

    @pytest.mark.parametrize("name", ["gone.png", "clip", "", "a.png/b.png", "a" * 300])
    def test_what_is_no_file(self, name: str, root: Path) -> None:
        assert not ImageFolder(root).has(name)
        with pytest.raises(UserError, match=r"no such image|cannot be read"):
            ImageFolder(root).read(name)

    @pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"], ids=ascii)
    @pytest.mark.parametrize("outside", [False, True])
    def test_names_that_no_file_can_have(self, name: str, outside: bool, root: Path) -> None:
        images = ImageFolder(root, outside)
        assert not images.has(name)
        with pytest.raises(UserError) as error:
            images.read(name)
        assert str(error.value) == f"{root}: no image can have the name {name!r}"
        str(error.value).encode()  # it can be printed

    def test_no_such_folder(self, tmp_path: Path) -> None:
        images = ImageFolder(tmp_path / "gone")
        assert not images.has("a.png")
        with pytest.raises(UserError, match=r"gone/a.png: no such image"):
            images.read("a.png")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png: cannot be read \(not a file\)"):
        read_image(tmp_path / "a.png")


def test_an_image_above_the_pixel_limit_is_not_decoded(tmp_path: Path) -> None:
    """A bitmap's header alone says how large it is."""
    header = struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100))
    with pytest.raises(UserError, match=r"a.bmp: above the limit of 200000000 pixels"):
        read_image(tmp_path / "a.bmp")
