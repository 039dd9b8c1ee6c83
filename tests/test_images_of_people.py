"""Images as people have them: turned by EXIF, and named by other machines and programs."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps
from test_images import assert_not_found, named, picture

from hpr.errors import UserError
from hpr.images import Image, ImageFolder, ImageList, open_images
from hpr.pixels import read_header
from hpr.settings import Orientation


def oriented(path: Path, orientation: int) -> tuple[Image, Image]:
    """Writes a picture of 32 × 16 pixels with four shades and an EXIF orientation; returns it as stored, and turned."""
    pixels = np.kron(np.array([[0, 80], [160, 250]], np.uint8), np.ones((8, 16), np.uint8))
    picture = PillowImage.fromarray(np.repeat(pixels[..., None], 3, axis=-1))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, quality=95)
    return np.asarray(picture), np.asarray(ImageOps.exif_transpose(PillowImage.open(path)).convert("RGB"))


class TestOrientation:
    @pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_pictures(self, orientation: int, ending: str, tmp_path: Path) -> None:
        """By the setting, else by the size in the file of poses where it tells, else by the format of the poses."""
        path = tmp_path / f"a.{ending}"
        stored, turned = oriented(path, orientation)
        known = [(picture.shape[1], picture.shape[0]) for picture in (stored, turned)]
        tells = orientation >= 5
        cases: list[tuple[Orientation, bool, tuple[int, int] | None, Image]] = [
            ("auto", False, None, stored),
            ("auto", True, None, turned),
            ("auto", False, known[1], turned if tells else stored),
            ("auto", True, known[0], stored if tells else turned),
            ("auto", True, (5, 5), turned),
            ("exif", False, known[0], turned),
            ("stored", True, known[1], stored),
        ]
        for setting, is_upright, size, expected in cases:
            frame = replace(named("a"), upright=is_upright, size=size)
            for location in (tmp_path, path, [path]):
                images = open_images(location, orientation=setting)
                found = images.read(frame)
                assert images.size(frame) == found.shape[1::-1] == expected.shape[1::-1]
                assert np.abs(found.astype(int) - expected).max() < 16
                means = expected.reshape(expected.shape[0] // 4, 4, -1, 4, 3).mean(axis=(1, 3))  # (H / 4, W / 4, 3)
                assert np.abs(images.read(frame, 4) - means).max() < 16
        opened = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)  # as in the programs of other projects
        np.testing.assert_array_equal(ImageFolder(tmp_path, orientation="exif").read(named("a")), opened)

    def test_broken_marks_are_ignored(self, tmp_path: Path) -> None:
        for number, exif in enumerate((b"", b"Exif\0\0II*", b"Exif\0\0" + bytes(50))):
            PillowImage.new("RGB", (4, 2)).save(tmp_path / f"{number}.jpg", exif=exif)
            assert read_header(tmp_path / f"{number}.jpg") == ((4, 2), 1)


class TestNamesOfOtherPlaces:
    """Files of poses come from other machines and systems, or name pictures without their folders."""

    FILES = (
        "a.jpg",
        "train/b.jpg",
        "clip_a/1.jpg",
        "clip_b/1.jpg",
        "clip_b/deep/2.png",
        "my photo.jpg",
        "J\u00f6.jpg",
    )

    @pytest.mark.parametrize(
        ("name", "folder", "file"),
        [
            pytest.param("train\\b.jpg", "", "train/b.jpg", id="Windows"),
            pytest.param("C:\\data\\train\\b.jpg", "", "train/b.jpg", id="Windows, absolute"),
            pytest.param("\\\\server\\data\\a.png", "", "a.jpg", id="network"),
            pytest.param("/home/u/data/a.jpg", "", "a.jpg", id="another machine"),
            pytest.param("/home/u/clip_b/1.jpg", "", "clip_b/1.jpg", id="another machine, in a folder"),
            pytest.param("/home/u/elsewhere/b.jpg", "", "train/b.jpg", id="another machine, another folder"),
            pytest.param("https://host/x/train/b.jpg?raw=1#top", "", "train/b.jpg", id="URL"),
            pytest.param("s3://bucket/my%20photo.jpg", "", "my photo.jpg", id="URL with a blank"),
            pytest.param("data/train/b.jpg", "", "train/b.jpg", id="with a folder above"),
            pytest.param("deep/2", "", "clip_b/deep/2.png", id="without a folder above"),
            pytest.param("../../train/b", "", "train/b.jpg", id="relative to another folder"),
            pytest.param("b", "any", "train/b.jpg", id="unique"),
            pytest.param("1", "clip_a", "clip_a/1.jpg", id="in the folder of the poses' name"),
            pytest.param("1.png", "clip_b", "clip_b/1.jpg", id="in another folder of the poses' name"),
            pytest.param("Jo\u0308", "", "J\u00f6.jpg", id="accents of macOS"),
        ],
    )
    def test_found(self, name: str, folder: str, file: str, tmp_path: Path) -> None:
        for shade, other in enumerate(self.FILES):
            picture(tmp_path / other, 30 * shade)
        for images in (ImageFolder(tmp_path), ImageList([tmp_path / other for other in self.FILES])):
            frame = replace(named(name), folder=folder)
            assert abs(int(images.read(frame).max()) - 30 * self.FILES.index(file)) <= 2
            assert Path(images.expected(frame)) == tmp_path / file

    @pytest.mark.parametrize(("name", "folder"), [("1", ""), ("/home/u/1.jpg", "clip_a"), ("1.png", "clip_c")])
    def test_ambiguous(self, name: str, folder: str, tmp_path: Path) -> None:
        for file in self.FILES:
            picture(tmp_path / file)
        with pytest.raises(UserError, match=r"both .*clip_a/1.jpg and .*clip_b/1.jpg could be meant"):
            ImageFolder(tmp_path).read(replace(named(name), folder=folder))

    def test_the_picture_of_another_clip_is_not_taken(self, tmp_path: Path) -> None:
        picture(tmp_path / "clip_b" / "1.jpg")
        assert_not_found(ImageFolder(tmp_path), "clip_a/1.jpg")
        assert_not_found(ImageFolder(tmp_path), "clip_a\\1.jpg")

    def test_links_are_no_way_out(self, tmp_path: Path) -> None:
        picture(tmp_path / "beside.png")
        (tmp_path / "root" / "clip").mkdir(parents=True)
        (tmp_path / "root" / "clip" / "link.png").symlink_to(tmp_path / "beside.png")
        assert_not_found(ImageFolder(tmp_path / "root"), "link.png")
        assert ImageFolder(tmp_path / "root", outside=True).has(named("link.png"))
