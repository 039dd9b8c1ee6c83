"""Images: decoding of files, folders and lists of pictures. Videos: test_video.py."""

import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpr.errors import UserError
from hpr.images import ImageFolder, ImageList, ImageSource, decode_image, open_images, read_image
from hpr.pixels import REDUCTIONS, read_header, reductions_of
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15

ReadFile = Callable[[Path], object]


def picture(path: Path, shade: int = 0) -> None:
    """Writes an image of one pixel, as PNG where the name does not say otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix or ".png", np.full((1, 1, 3), shade, np.uint8))[1].tofile(path)


def bitmap_header(path: Path, width: int, height: int) -> None:
    """Writes a bitmap of a header without pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100))


def named(name: str) -> Frame:
    return Frame.empty(name, POSETRACK15)


def shade_of(images: ImageSource, name: str) -> int:
    """Returns the brightest value of an image."""
    return int(images.read(named(name)).max())


def assert_not_found(images: ImageSource, name: str) -> None:
    assert not images.has(named(name))
    with pytest.raises(UserError, match=r"no such image|cannot be read"):
        images.read(named(name))


class TestReadImage:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("name", ["a.png", "bild–ä 1.png"], ids=ascii)
    def test_images_are_rgb(self, name: str, channels: int, tmp_path: Path) -> None:
        pixels = np.full((4, 6, channels), [[[10, 20, 30, 255][:channels]]], np.uint8)
        cv2.imencode(".png", pixels)[1].tofile(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.shape == (4, 6, 3)
        assert image[0, 0].tolist() == ([10, 10, 10] if channels == 1 else [30, 20, 10])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(None, "no such image", id="absent"),
            pytest.param(b"", "not an image that OpenCV can decode", id="empty"),
            pytest.param(b"hello", "not an image that OpenCV can decode", id="text"),
            pytest.param(b"\x89PNG\r\n\x1a\n", "not an image that OpenCV can decode", id="header alone"),
        ],
    )
    @pytest.mark.parametrize("read", [read_image, read_header])
    def test_unreadable_files(self, content: bytes | None, message: str, read: ReadFile, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "a.png").write_bytes(content)
            with pytest.raises(ValueError, match=message):
                decode_image(np.frombuffer(content, np.uint8))
        with pytest.raises(UserError, match=f"a.png: {message}"):
            read(tmp_path / "a.png")

    @pytest.mark.parametrize("ending", ["jpg", "png"])
    def test_truncated_file(self, ending: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        encoded = cv2.imencode(f".{ending}", noise)[1]
        with pytest.raises(ValueError, match="not an image"):
            decode_image(encoded[: len(encoded) // 2])

    def test_what_is_no_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")  # which would be waited for
        for path in (tmp_path, tmp_path / "a.png"):
            with pytest.raises(UserError, match=r"cannot be read \(not a file\)"):
                read_image(path)

    def test_image_above_the_pixel_limit_is_not_decoded(self, tmp_path: Path) -> None:
        bitmap_header(tmp_path / "a.bmp", 20_000, 20_000)
        with pytest.raises(UserError, match=r"a.bmp: above the limit of 200000000 pixels"):
            read_image(tmp_path / "a.bmp")


class TestImageSize:
    @pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp", "tiff", "ppm"])
    def test_formats(self, ending: str, tmp_path: Path) -> None:
        path = tmp_path / f"a.{ending}"
        cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
        assert read_header(path) == ((30, 20), 1)

    def test_needs_the_header_only(self, tmp_path: Path) -> None:
        bitmap_header(tmp_path / "a.bmp", 12_000, 11_000)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_header(tmp_path / "a.bmp") == ((12_000, 11_000), 1)


class TestReductions:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((0, 0), (1, 2, 4, 8)),
            ((64, 8), (1, 2, 4, 8)),
            ((4032, 3020), (1, 2, 4)),
            ((6, 4), (1, 2)),
            ((640, 427), (1,)),
        ],
    )
    def test_what_divides_both_sides(self, size: tuple[int, int], expected: tuple[int, ...]) -> None:
        assert reductions_of(size) == expected

    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_each_pixel_is_a_mean(self, reduction: int, ending: str, tmp_path: Path) -> None:
        pixels = np.kron(np.random.default_rng(0).integers(0, 256, (6, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        pixels = cv2.GaussianBlur(pixels, (0, 0), 3.0)
        path = tmp_path / f"a.{ending}"
        cv2.imwrite(str(path), pixels)
        blocks = pixels[..., ::-1].reshape(48 // reduction, reduction, 80 // reduction, reduction, 3)
        for source in (ImageFolder(tmp_path), ImageList([path])):
            image = source.read(named(path.name), reduction)
            assert image.shape == (48 // reduction, 80 // reduction, 3)
            assert np.abs(image - blocks.mean(axis=(1, 3))).mean() < 4


class TestImageFolder:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A folder of images with shade 1, beside images with shade 2."""
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
    def test_names_inside(self, name: str, outside: bool, root: Path) -> None:
        images, name = ImageFolder(root, outside), name.format(root=root)
        assert images.has(named(name))
        assert images.expected(named(name)) == str(root / name)
        assert shade_of(images, name) == 1

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("../beside.png", id="one up"),
            pytest.param("../root2/c.png", id="into a folder whose name begins alike"),
            pytest.param("clip/../../beside.png", id="down and up"),
            pytest.param("{outside}/beside.png", id="absolute"),
            pytest.param("link.png", id="through a link to a file"),
            pytest.param("links/c.png", id="through a link to a folder"),
            pytest.param("../beside", id="one up, without an ending"),
        ],
    )
    def test_names_outside(self, name: str, root: Path) -> None:
        images, name = ImageFolder(root), name.format(root=root, outside=root.parent)
        assert not images.has(named(name))
        for find in (images.expected, images.read, images.size):
            with pytest.raises(UserError) as error:
                find(named(name))
            expected = f"lies outside of {root}; if that is meant, add outside=true"
            assert str(error.value) == f"{root / name}: {expected}"

        allowed = ImageFolder(root, outside=True)
        assert allowed.has(named(name))
        assert shade_of(allowed, name) == 2

    def test_outside_is_suggested_only_where_it_helps(self, root: Path) -> None:
        for name in ("../gone.png", "/no/where.png", "nowhere.png"):
            for outside in (False, True):
                assert_not_found(ImageFolder(root, outside), name)

    @pytest.mark.parametrize("folder", ["", "clip/..", "../folder"], ids=["relative", "up", "a link"])
    def test_folder_may_be_relative_or_a_link(self, folder: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root.parent / "folder").symlink_to(root)
        monkeypatch.chdir(root)
        images = ImageFolder(Path(folder))
        for name in ("clip/b.png", f"{root}/a.png", f"{root.parent}/folder/a.png"):
            assert shade_of(images, name) == 1
        assert not any(images.has(named(name)) for name in ("../beside.png", "link.png", "folder"))
        assert ImageFolder(Path("/")).has(named(str(root / "link.png")))

    @pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"], ids=ascii)
    @pytest.mark.parametrize("outside", [False, True])
    def test_impossible_names(self, name: str, outside: bool, root: Path) -> None:
        images = ImageFolder(root, outside)
        assert not images.has(named(name))
        with pytest.raises(UserError) as error:
            images.read(named(name))
        assert str(error.value) == f"{root}: no image can have the name {name!r}"
        str(error.value).encode()  # it can be printed


class TestOtherEndings:
    """Poses may name pictures without an ending, or with that of another copy."""

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            pytest.param("a", "a.jpg", id="without an ending"),
            pytest.param("clip/a", "clip/a.png", id="in a folder"),
            pytest.param("a.png", "a.jpg", id="another ending"),
            pytest.param("a.PNG", "a.Jpg", id="endings in capitals"),
            pytest.param("frame.0001", "frame.0001.bmp", id="a dot that begins no ending"),
            pytest.param("../root/a", "a.jpg", id="out of the folder and back"),
            pytest.param("{root}/a", "a.jpg", id="absolute"),
        ],
    )
    def test_found(self, name: str, file: str, tmp_path: Path) -> None:
        root = tmp_path / "root"
        picture(root / file)
        for other in ("ab.jpg", "a.txt", "a.json", "frame.png"):
            (root / other).touch()
        images, frame = ImageFolder(root), named(name.format(root=root))
        assert images.has(frame)
        assert images.size(frame) == (1, 1)
        assert images.read(frame).shape == (1, 1, 3)
        assert Path(images.expected(frame)).name == Path(file).name

    @pytest.mark.parametrize("name", ["", ".", "..", "b.png", "clip", "a.json", "gone/c", "a" * 300])
    def test_not_found(self, name: str, tmp_path: Path) -> None:
        for file in ("root/a.jpg", "root/ab.jpg", "root/clip/c.jpg", "root.jpg"):
            picture(tmp_path / file)
        for folder in ("root", "gone"):
            assert_not_found(ImageFolder(tmp_path / folder, outside=True), name)

    @pytest.mark.parametrize("name", ["a", "a.jpg"])
    def test_exact_name_wins_and_others_are_ambiguous(self, name: str, tmp_path: Path) -> None:
        for shade, exact in enumerate(("a.png", "a.bmp")):
            picture(tmp_path / exact, shade)
        images = ImageFolder(tmp_path)
        assert [shade_of(images, exact) for exact in ("a.png", "a.bmp")] == [0, 1]
        assert not images.has(named(name))
        with pytest.raises(UserError) as error:
            images.read(named(name))
        expected = f"{tmp_path}/{name}: no such image, and both a.bmp and a.png could be meant; name one"
        assert str(error.value) == expected


class TestImageList:
    @pytest.fixture
    def images(self, tmp_path: Path) -> ImageList:
        """Pictures whose shade is 40 times their index."""
        paths = [tmp_path / name for name in ("a/1.jpg", "b/1.png", "b/2.png", "b/c/3.png", "4.png", "4.png")]
        for shade, path in enumerate(paths[:5]):
            picture(path, 40 * shade)
        return ImageList(paths)

    @pytest.mark.parametrize(
        ("name", "index"),
        [
            pytest.param("2.png", 2, id="base name"),
            pytest.param("2", 2, id="stem"),
            pytest.param("2.jpg", 2, id="another ending"),
            pytest.param("elsewhere/2.png", 2, id="another folder"),
            pytest.param("a/1.jpg", 0, id="last parts"),
            pytest.param("1.jpg", 0, id="base name before stem"),
            pytest.param("images/b/1.png", 1, id="the most parts in common"),
            pytest.param("{root}/b/c/3.png", 3, id="whole path"),
            pytest.param("4.png", 4, id="listed twice"),
        ],
    )
    def test_found(self, name: str, index: int, images: ImageList, tmp_path: Path) -> None:
        frame = named(name.format(root=tmp_path))
        assert images.has(frame)
        assert images.size(frame) == (1, 1)
        assert abs(shade_of(images, frame.image) - 40 * index) <= 1

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("5.png", r"the list of pictures: no picture is named '5.png', as the poses have it"),
            ("1", r"both .*a/1.jpg and .*b/1.png could be '1', which the poses name"),
            ("", r"could be ''"),
            ("4.png", r"4.png: no such image"),
        ],
    )
    def test_not_found(self, name: str, message: str, images: ImageList, tmp_path: Path) -> None:
        (tmp_path / "4.png").unlink()
        assert not images.has(named(name))
        for read in (images.read, images.size):
            with pytest.raises(UserError, match=message):
                read(named(name))

    def test_one_picture(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", 7)
        images = open_images(tmp_path / "a.png")
        for name in ("a.png", "a", "a.jpg", "images/a.png", ""):
            assert images.has(named(name))
            assert shade_of(images, name) == 7
        assert not images.has(named("b.png"))


class TestOpenImages:
    def test_by_what_is_there(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        (tmp_path / "folder.mp4").mkdir()
        for folder in (tmp_path, tmp_path / "folder.mp4", tmp_path / "gone"):
            images = open_images(str(folder), outside=True)
            assert isinstance(images, ImageFolder)
            assert (images.root, images.outside, images.in_order) == (folder, True, False)
        assert isinstance(open_images(str(tmp_path / "a.png")), ImageList)
        assert isinstance(open_images([str(tmp_path / "a.png")]), ImageList)

    def test_file_that_lists_pictures(self, tmp_path: Path) -> None:
        picture(tmp_path / "lists" / "a.png", 1)
        picture(tmp_path / "b.png", 2)
        (tmp_path / "lists" / "all.txt").write_text(f"\ufeffa.png\r\n\n  {tmp_path}/b.png \n", "utf-8")
        images = open_images(tmp_path / "lists" / "all.txt")
        assert images.name == f"{tmp_path}/lists/all.txt"
        assert [shade_of(images, name) for name in ("a.png", "b")] == [1, 2]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"\xff\xfe\x00", "a.txt: cannot be read as UTF-8 text, one path of a picture in each line"),
            ("a.txt", b" \n", "a.txt: expected pictures, found none"),
            ("a.txt", None, "a.txt: no such list of pictures"),
            ("a.jpg", None, "a.jpg: no such image"),
            ("a.json", b"", r"a.json: expected a folder, a video such as .mp4, .*; found a file that ends in '.json'"),
            ("a", b"", "found a file that ends in ''"),
        ],
    )
    def test_refused(self, name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            open_images(tmp_path / name)
        assert "\n" not in str(error.value)

    def test_no_picture_and_impossible_names(self) -> None:
        with pytest.raises(UserError, match="the list of 0 pictures: expected pictures, found none"):
            open_images([])
        for name in ("a" * 5000, "a" * 5000 + ".mp4", "a\0.jpg", "a\0.mp4", "a\0.txt"):
            with pytest.raises(UserError):
                open_images(name)
