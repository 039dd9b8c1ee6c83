"""Where pixels come from: folders of images, and what OpenCV makes of a file."""

import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from hpr.errors import UserError
from hpr.images import (
    REDUCTIONS,
    Image,
    ImageFolder,
    ImageList,
    ImageSource,
    ReducingSource,
    Video,
    decode_image,
    image_size,
    open_images,
    read_image,
)
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15


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
    picture = PillowImage.fromarray(np.zeros((20, 30, 3), np.uint8))
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


def picture(path: Path, shade: int = 0) -> None:
    """Writes an image of one pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((1, 1, 3), shade, np.uint8))


def named(name: str, number: int | None = None) -> Frame:
    return Frame(name, POSETRACK15, np.empty((0, 15, 2)), number=number)


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
        assert images.has(named(name))
        assert images.path(name) == root / name
        assert images.read(named(name)).tolist() == [[[1, 1, 1]]]

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
        assert not images.has(named(name))
        for find in (images.path, lambda name: images.read(named(name)), lambda name: images.size(named(name))):
            with pytest.raises(UserError) as error:
                find(name)
            expected = f"lies outside of {root}; if that is meant, add dataset.outside=true"
            assert str(error.value) == f"{root / name}: {expected}"
            assert "\n" not in str(error.value)
        allowed = ImageFolder(root, outside=True)
        assert allowed.has(named(name))
        assert allowed.read(named(name)).tolist() == [[[2, 2, 2]]]

    def test_there_is_nothing_to_be_learnt_of_files_outside(self, root: Path) -> None:
        """What is not there is refused in the same words."""
        for name in ("../gone.png", "/no/where.png", "nowhere.png"):
            with pytest.raises(UserError, match="lies outside of"):
                ImageFolder(root).read(named(name))
            with pytest.raises(UserError, match="no such image"):
                ImageFolder(root, outside=True).read(named(name))

    def test_the_folder_itself_may_be_a_link(self, root: Path) -> None:
        link = root.parent / "link"
        link.symlink_to(root)
        images = ImageFolder(link)
        assert images.read(named("clip/b.png")).tolist() == [[[1, 1, 1]]]
        assert images.has(named(f"{link}/a.png"))
        assert images.has(named(f"{root}/a.png"))
        assert not images.has(named("../beside.png"))
        assert not images.has(named("link.png"))

    def test_the_folder_may_be_relative(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root)
        for relative in (Path(), Path("clip/..")):
            images = ImageFolder(relative)
            assert images.read(named("a.png")).tolist() == [[[1, 1, 1]]]
            assert not images.has(named("../beside.png"))

    def test_the_folder_may_be_the_root_of_all(self, root: Path) -> None:
        assert ImageFolder(Path("/")).has(named(str(root / "link.png")))

    @pytest.mark.parametrize("name", ["gone.png", "clip", "", "a.png/b.png", "a" * 300])
    def test_what_is_no_file(self, name: str, root: Path) -> None:
        assert not ImageFolder(root).has(named(name))
        with pytest.raises(UserError, match=r"no such image|cannot be read"):
            ImageFolder(root).read(named(name))

    @pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"], ids=ascii)
    @pytest.mark.parametrize("outside", [False, True])
    def test_names_that_no_file_can_have(self, name: str, outside: bool, root: Path) -> None:
        images = ImageFolder(root, outside)
        assert not images.has(named(name))
        with pytest.raises(UserError) as error:
            images.read(named(name))
        assert str(error.value) == f"{root}: no image can have the name {name!r}"
        str(error.value).encode()  # it can be printed

    def test_no_such_folder(self, tmp_path: Path) -> None:
        images = ImageFolder(tmp_path / "gone")
        assert not images.has(named("a.png"))
        with pytest.raises(UserError, match=r"gone/a.png: no such image"):
            images.read(named("a.png"))


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


class TestOtherEndings:
    """A file of poses may name pictures without an ending, or with that of another copy."""

    @pytest.mark.parametrize(
        ("name", "there"),
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
    def test_found(self, name: str, there: str, tmp_path: Path) -> None:
        root = tmp_path / "root"
        picture(root / there.lower(), 1)
        (root / there.lower()).rename(root / there)
        for other in ("ab.jpg", "a.txt", "a.json", "frame.png"):
            (root / other).touch()
        images, frame = ImageFolder(root), named(name.format(root=root))
        assert images.has(frame)
        assert images.size(frame) == (1, 1)
        assert images.read(frame).shape == (1, 1, 3)
        assert Path(images.expected(frame)).name == Path(there).name

    @pytest.mark.parametrize("name", ["", ".", "..", "b", "a.json", "a.txt", "gone/a", "ab.jpg/a"])
    def test_not_found(self, name: str, tmp_path: Path) -> None:
        for there in ("root/a.jpg", "root/ab.jpg", "root.jpg"):
            picture(tmp_path / there)
        images = ImageFolder(tmp_path / "root", outside=True)
        assert not images.has(named(name))
        with pytest.raises(UserError, match=r"no such image|cannot be read"):
            images.read(named(name))

    def test_a_file_of_that_name_goes_first(self, tmp_path: Path) -> None:
        for shade, name in enumerate(("a.png", "a.bmp", "a")):
            picture(tmp_path / "other.png", shade)
            (tmp_path / "other.png").rename(tmp_path / name)
        images = ImageFolder(tmp_path)
        assert [int(images.read(named(name)).max()) for name in ("a.png", "a.bmp", "a")] == [0, 1, 2]

    @pytest.mark.parametrize("name", ["a", "a.jpg"])
    def test_two_that_could_be_meant(self, name: str, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        picture(tmp_path / "a.bmp")
        images = ImageFolder(tmp_path)
        assert not images.has(named(name))
        with pytest.raises(UserError) as error:
            images.read(named(name))
        assert (
            str(error.value) == f"{tmp_path}/{name}: no such image, and both a.bmp and a.png could be meant; name one"
        )

    def test_names_that_lead_out_stay_refused(self, tmp_path: Path) -> None:
        picture(tmp_path / "beside.png")
        picture(tmp_path / "root.png")
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "link.png").symlink_to(tmp_path / "beside.png")
        images = ImageFolder(tmp_path / "root")
        for name in ("../beside", "link", str(tmp_path / "beside")):
            assert not images.has(named(name))
            with pytest.raises(UserError, match="lies outside of"):
                images.read(named(name))
        with pytest.raises(UserError, match="cannot be read"):  # in the words for any folder
            images.read(named("../root"))
        allowed = ImageFolder(tmp_path / "root", outside=True)
        assert all(allowed.has(named(name)) for name in ("../beside", "link", "../root"))

    def test_a_folder_is_listed_once(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.jpg")
        images = ImageFolder(tmp_path)
        assert images.has(named("a"))
        picture(tmp_path / "b.jpg")
        assert not images.has(named("b"))
        assert ImageFolder(tmp_path) == images


class TestImageSize:
    @pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp", "tiff", "ppm"])
    def test_is_that_of_the_decoded_image(self, ending: str, tmp_path: Path) -> None:
        path = tmp_path / f"a.{ending}"
        cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
        assert image_size(path) == (30, 20)
        assert read_image(path).shape == (20, 30, 3)

    def test_without_its_orientation(self, tmp_path: Path) -> None:
        image = PillowImage.fromarray(np.zeros((20, 30, 3), np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6  # turned by 90 degrees
        image.save(tmp_path / "a.jpg", exif=exif)
        assert image_size(tmp_path / "a.jpg") == (30, 20)

    def test_from_the_header_alone(self, tmp_path: Path) -> None:
        """The pixels of this file are not there."""
        header = struct.pack("<IiiHHIIiiII", 40, 12_000, 11_000, 1, 24, 0, 0, 0, 0, 0, 0)
        (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert image_size(tmp_path / "a.bmp") == (12_000, 11_000)

    @pytest.mark.parametrize(
        ("content", "message"),
        [(None, "no such image"), (b"", "not an image"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an")],
    )
    def test_of_what_is_no_image(self, content: bytes | None, message: str, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=message):
            image_size(tmp_path / "a.png")


class TestImageList:
    @pytest.fixture
    def images(self, tmp_path: Path) -> ImageList:
        """Pictures whose shade is their place in the list."""
        paths = [tmp_path / name for name in ("a/1.jpg", "b/1.png", "b/2.png", "b/c/3.png", "4.png", "4.png")]
        for shade, path in enumerate(paths[:5]):
            picture(path, 40 * shade)
        return ImageList(paths)

    @pytest.mark.parametrize(
        ("name", "place"),
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
    def test_found(self, name: str, place: int, images: ImageList, tmp_path: Path) -> None:
        frame = named(name.format(root=tmp_path))
        assert images.has(frame)
        assert images.size(frame) == (1, 1)
        assert abs(int(images.read(frame).max()) - 40 * place) <= 1

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("5.png", r"the list of pictures: no picture is named '5.png', as the poses have it"),
            ("1", r"both .*a/1.jpg and .*b/1.png could be '1', which the poses name"),
            ("", r"could be ''"),
        ],
    )
    def test_not_found(self, name: str, message: str, images: ImageList) -> None:
        assert not images.has(named(name))
        for look in (images.read, images.size):
            with pytest.raises(UserError, match=message):
                look(named(name))

    def test_a_file_that_has_gone(self, images: ImageList, tmp_path: Path) -> None:
        (tmp_path / "4.png").unlink()
        assert not images.has(named("4.png"))
        with pytest.raises(UserError, match=r"4.png: no such image"):
            images.read(named("4.png"))

    def test_one_picture(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", 7)
        images = open_images(tmp_path / "a.png")
        for name in ("a.png", "a", "a.jpg", "images/a.png", ""):
            assert images.has(named(name))
            assert images.read(named(name)).tolist() == [[[7, 7, 7]]]
        assert not images.has(named("b.png"))

    def test_nothing(self) -> None:
        with pytest.raises(UserError, match="expected pictures, found none"):
            ImageList([])


FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames have eight times their number as their shade, with a red edge on the left."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(FRAMES):
        pixels = np.full((48, 64, 3), number * 8, np.uint8)
        pixels[:, :16] = (0, 0, 255)
        writer.write(pixels)
    writer.release()
    return path


def shown(image: Image) -> int:
    """Returns the number of the frame that an image is of."""
    return round(float(image[:, 32:].mean()) / 8)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Returns a list that gets an entry with every call of a function of OpenCV."""
    calls: list[str] = []
    function = getattr(cv2, name)

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return function(*arguments)

    monkeypatch.setattr(cv2, name, call)
    return calls


class TestVideo:
    @pytest.mark.parametrize(
        "numbers",
        [
            pytest.param([], id="none"),
            pytest.param([0], id="the first"),
            pytest.param([29], id="the last"),
            pytest.param(list(range(FRAMES)), id="all"),
            pytest.param([2, 3, 11, 28], id="some"),
            pytest.param([5, 5, 5, 6, 6], id="again"),
            pytest.param([20, 3, 4, 0, 29, 28], id="backwards"),
        ],
    )
    def test_frames(self, numbers: list[int], clip: Path) -> None:
        video = Video(clip)
        assert [shown(video.read(named("", number))) for number in numbers] == numbers

    def test_frames_are_rgb(self, clip: Path) -> None:
        image = Video(clip).read(named("", 3))
        assert image.shape == (48, 64, 3)
        assert image.dtype == np.uint8
        red, green, blue = image[:, 2:10].reshape(-1, 3).mean(axis=0)
        assert red > 200
        assert max(green, blue) < 50

    def test_in_order_it_is_opened_once(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = counted(monkeypatch, "VideoCapture")
        video = Video(clip)
        for number in (0, 4, 4, 17, 29):
            video.read(named("", number))
        assert len(opened) == 1
        video.read(named("", 5))
        assert len(opened) == 2

    def test_frames_passed_over_are_not_converted(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        video, converted = Video(clip), counted(monkeypatch, "cvtColor")
        for number in (10, 20):
            video.read(named("", number))
        assert len(converted) == 2

    def test_from_several_threads(self, clip: Path) -> None:
        video, numbers = Video(clip), [*range(0, FRAMES, 3)] * 3
        with ThreadPoolExecutor(8) as pool:
            assert [shown(image) for image in pool.map(lambda n: video.read(named("", n)), numbers)] == numbers

    def test_beyond_the_end(self, clip: Path) -> None:
        video = Video(clip)
        assert shown(video.read(named("", 7))) == 7
        for number in (57, 10**30, 30):
            assert not video.has(named("", number))
            with pytest.raises(UserError) as error:
                video.read(named("", number))
            assert str(error.value) == f"{clip}: has 30 frames, numbered from 0; frame {number} was asked for"
        assert shown(video.read(named("", 29))) == 29
        assert shown(video.read(named("", 2))) == 2

    def test_before_the_first(self, clip: Path) -> None:
        assert not Video(clip).has(named("", -1))
        with pytest.raises(UserError, match="frames are numbered from 0; frame -1 was asked for"):
            Video(clip).read(named("", -1))

    def test_poses_that_do_not_say_which_frame(self, clip: Path) -> None:
        video = Video(clip)
        assert not video.has(named("000003.jpg"))
        for look in (video.read, video.size, video.expected):
            with pytest.raises(UserError) as error:
                look(named("000003.jpg"))
            problem = "the poses do not say which frame of the video they are of (as for '000003.jpg')"
            assert str(error.value) == f"{clip}: {problem}"

    def test_size_and_number_without_decoding(self, clip: Path) -> None:
        video = Video(clip)
        assert video.size(named("", 3)) == (64, 48)
        assert [video.has(named("", number)) for number in (0, 29, 30)] == [True, True, False]
        assert video.expected(named("", 3)) == "frame 3"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "a.mp4: no such video"),
            (b"", "a.mp4: not a video that OpenCV can decode"),
            (b"hello" * 100, "a.mp4: not a video that OpenCV can decode"),
        ],
    )
    def test_what_is_no_video(
        self, content: bytes | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        if content is not None:
            (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(UserError, match=message):
            Video(tmp_path / "a.mp4")
        assert capfd.readouterr().err == ""

    def test_half_a_video(self, clip: Path, tmp_path: Path) -> None:
        """What can be read is read, or the file is refused."""
        (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        with pytest.raises(UserError, match=r"a.mp4: (not a video|has \d+ frames|frame 29 cannot)"):
            Video(tmp_path / "a.mp4").read(named("", 29))

    def test_a_named_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.mp4")
        with pytest.raises(UserError, match="not a file"):
            Video(tmp_path / "a.mp4")


class TestOpenImages:
    def kind(self, location: str | list[str]) -> str:
        images: ImageSource = open_images(location)
        assert images.in_order == isinstance(images, Video)
        return type(images).__name__

    def test_by_what_it_is(self, clip: Path, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        (tmp_path / "folder.mp4").mkdir()
        assert self.kind(str(tmp_path)) == "ImageFolder"
        assert self.kind(str(tmp_path / "folder.mp4")) == "ImageFolder"
        assert self.kind(str(tmp_path / "gone")) == "ImageFolder"
        assert self.kind(str(clip)) == "Video"
        assert self.kind(str(tmp_path / "a.png")) == "ImageList"
        assert self.kind([str(tmp_path / "a.png")]) == "ImageList"
        assert open_images(tmp_path, outside=True) == ImageFolder(tmp_path, outside=True)

    def test_a_file_that_lists_pictures(self, tmp_path: Path) -> None:
        picture(tmp_path / "lists" / "a.png", 1)
        picture(tmp_path / "b.png", 2)
        (tmp_path / "lists" / "all.txt").write_text(f"\ufeffa.png\r\n\n  {tmp_path}/b.png \n", "utf-8")
        images = open_images(tmp_path / "lists" / "all.txt")
        assert images.name == f"{tmp_path}/lists/all.txt"
        assert [int(images.read(named(name)).max()) for name in ("a.png", "b")] == [1, 2]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"\xff\xfe\x00", "a.txt: cannot be read as UTF-8 text, one path of a picture in each line"),
            ("a.txt", b" \n", "a.txt: expected pictures, found none"),
            ("a.txt", None, "a.txt: no such list of pictures"),
            ("a.jpg", None, "a.jpg: no such image"),
            ("a.mov", None, "a.mov: no such video"),
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

    @pytest.mark.parametrize("name", ["a" * 5000, "a" * 5000 + ".mp4", "a\0.jpg", "a\0.mp4", "a\0.txt"], ids=range(5))
    def test_names_that_no_file_can_have(self, name: str) -> None:
        with pytest.raises(UserError):
            open_images(name)

    def test_an_empty_list(self) -> None:
        with pytest.raises(UserError, match="the list of 0 pictures: expected pictures, found none"):
            open_images([])


class TestReduced:
    """Fewer pixels than a file has."""

    @pytest.mark.parametrize(("reduction", "size"), [(1, (21, 33)), (2, (11, 17)), (4, (6, 9)), (8, (3, 5))])
    def test_size(self, reduction: int, size: tuple[int, int], tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.jpg"), np.full((21, 33, 3), (0, 128, 255), np.uint8))
        for source in (ImageFolder(tmp_path), ImageList([tmp_path / "a.jpg"])):
            frame = Frame.empty("a.jpg", POSETRACK15)
            image = source.read_reduced(frame, reduction)
            assert image.shape == (*size, 3)
            assert np.abs(image.astype(int) - (255, 128, 0)).max() <= 3
            assert source.reductions(frame) == REDUCTIONS
            assert isinstance(source, ReducingSource)

    def test_only_jpeg(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
        assert ImageFolder(tmp_path).reductions(Frame.empty("a.png", POSETRACK15)) == (1,)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a\.jpg: no such image"):
            ImageFolder(tmp_path).reductions(Frame.empty("a.jpg", POSETRACK15))
