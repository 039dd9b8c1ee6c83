"""Arrays of an .npz file: what is read from them, and how they are written."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import moved, read, refusal, with_another, with_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes as shapes
from hypothesis.extra.numpy import arrays as arrays_of
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.formats.arrays import Arrays
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, SKELETONS

FORMAT = Arrays()


def people(*rows: Any, skeleton: str = "coco17", count: int = 17, **arrays: Any) -> dict[str, Any]:
    """Arrays of people whose first keypoints are given, the others missing."""
    keypoints = np.full((len(rows), count, 2), np.nan)
    keypoints[:, 0] = np.reshape(rows, (-1, 2))
    return {"keypoints": keypoints, "skeleton": skeleton, **arrays}


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def loaded(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as archive:
        return dict(archive)


def frames_of(arrays: dict[str, Any], folder: Path) -> list[Frame]:
    return read(FORMAT, saved(folder / "a.npz", arrays)).frames


def assert_same(found: dict[str, NDArray[Any]], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], np.asarray(array), err_msg=name)
        assert found[name].dtype == np.asarray(array).dtype, name


@pytest.mark.parametrize("arrays", [{}, {"frames": np.zeros(0, int)}, {"images": np.zeros(0, "U1")}], ids=str)
def test_nobody(arrays: dict[str, Any], tmp_path: Path) -> None:
    sequence = read(FORMAT, saved(tmp_path / "a.npz", people(**arrays)))
    assert (sequence.name, sequence.frames) == ("a", [])
    FORMAT.write([sequence], tmp_path / "b.npz")
    assert_same(loaded(tmp_path / "b.npz"), people(**arrays))


NOBODY_AND_B = [("n", 3, []), ("b", 7, [0])]


@pytest.mark.parametrize(
    ("arrays", "frames"),
    [
        # In the order of their numbers; those between them are not made up.
        (people([1, 2], [3, 4], [5, 6], frames=[10, 2, 10]), [("2.jpg", 2, [1]), ("10.jpg", 10, [0, 2])]),
        (people([1, 2], [3, 4], images=["b.jpg", "x/a.jpg"]), [("b.jpg", None, [0]), ("x/a.jpg", None, [1])]),
        (people([1, 2], frames=[1], all_frames=range(3)), [("0.jpg", 0, []), ("1.jpg", 1, [0]), ("2.jpg", 2, [])]),
        (people([1, 2], images=["a"], all_images=["c", "a", "c"]), [("c", None, []), ("a", None, [0])]),
        (people(all_images=["c", "a"]), [("c", None, []), ("a", None, [])]),
        (people([1, 2], [3, 4], images=["b", "a"], frames=[7, 0]), [("b", 7, [0]), ("a", 0, [1])]),
        (people([1, 2], images=["b"], frames=[7], all_images=[*"nb"], all_frames=[3, 7]), NOBODY_AND_B),
    ],
    ids=["frames", "images", "all frames", "all images", "images without people", "both", "all of both"],
)
def test_who_is_where(arrays: dict[str, Any], frames: list[Any], tmp_path: Path) -> None:
    found = [(frame.image, frame.number, frame.records.tolist()) for frame in frames_of(arrays, tmp_path)]
    assert found == frames


class TestWhatItSays:
    def test_keypoints_alone(self, tmp_path: Path) -> None:
        (frame,) = frames_of(people([1, 2.5], frames=[0]), tmp_path)
        assert frame.skeleton is COCO17
        np.testing.assert_array_equal(frame.keypoints[0, :2], [[1, 2.5], [np.nan, np.nan]])
        assert frame.flags.tolist() == [[1, *[0] * 16]]
        assert np.isnan(frame.scores).all()
        assert np.isnan(frame.boxes).all()
        assert frame.track_ids == (None,)

    def test_only_nan_is_missing(self, tmp_path: Path) -> None:
        nan, inf = np.nan, np.inf
        places = [(1, 2), (0, 0), (-3, 5), (nan, nan), (nan, 5), (nan, inf), (inf, 5)]
        (frame,) = frames_of(people(*places, frames=[0] * 7), tmp_path)
        np.testing.assert_array_equal(frame.keypoints[:, 0], [*places[:3], *[(nan, nan)] * 3, (inf, inf)])

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f8", np.uint8, np.int64])
    def test_any_kind_of_number(self, kind: Any, tmp_path: Path) -> None:
        arrays = {"keypoints": np.full((1, 16, 2), 7, kind), "skeleton": "mpii16", "frames": np.zeros(1, np.uint8)}
        (frame,) = frames_of(arrays, tmp_path)
        assert frame.keypoints.dtype == np.float64
        assert frame.keypoints[0, 3].tolist() == [7, 7]

    def test_everything(self, tmp_path: Path) -> None:
        arrays: dict[str, Any] = {"scores": np.arange(34).reshape(2, 17) / 100, "flags": np.ones((2, 17), bool)}
        arrays |= {"boxes": [[1, 2, 3, 4], [np.nan] * 4], "head_boxes": [[5, 6, 7, 8.5], [np.nan] * 4]}
        arrays["person_scores"] = [0.5, 2.5]
        (frame,) = frames_of(people([1, 2], [3, 4], frames=[5, 5], track_ids=[3, -1], **arrays), tmp_path)
        for name, array in arrays.items():
            np.testing.assert_array_equal(getattr(frame, name), array, err_msg=name)
        assert frame.track_ids == (3, None)

    @pytest.mark.parametrize("name", SKELETONS)
    def test_skeletons(self, name: str, tmp_path: Path) -> None:
        count = len(SKELETONS[name])
        (frame,) = frames_of(people([1, 2], skeleton=name, count=count, frames=[0]), tmp_path)
        assert frame.skeleton is SKELETONS[name]
        listed: dict[str, Any] = {"keypoint_names": np.array(SKELETONS[name].names)}
        arrays = people([1, 2], count=count, frames=[0])
        assert frames_of({**arrays, "skeleton": name, **listed}, tmp_path)[0].skeleton is SKELETONS[name]
        del arrays["skeleton"]
        assert frames_of({**arrays, **listed}, tmp_path)[0].skeleton is SKELETONS[name]

    def test_a_skeleton_of_its_own(self, tmp_path: Path) -> None:
        arrays = people([1, 2], count=3, frames=[0], keypoint_names=["tail", "left_hip", "right_hip"])
        del arrays["skeleton"]
        sequence = read(FORMAT, saved(tmp_path / "a.npz", arrays))
        skeleton = sequence.frames[0].skeleton
        assert (skeleton.names, skeleton.limbs) == (("tail", "left_hip", "right_hip"), (("right_hip", "left_hip"),))
        assert skeleton.sigmas == (0.079, 0.107, 0.107)
        assert skeleton.mirror == (0, 2, 1)
        FORMAT.write([replace(sequence, original=None)], tmp_path / "b.npz")
        assert read(FORMAT, tmp_path / "b.npz").frames[0].skeleton == skeleton


class TestWriting:
    def test_python_objects_that_nobody_asks_for_are_kept(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", **people([1, 2], frames=[0]), info=np.array({"by": "me"}, object))
        FORMAT.write(FORMAT.read(tmp_path / "a.npz"), tmp_path / "b.npz")
        with np.load(tmp_path / "b.npz", allow_pickle=True) as archive:
            assert archive["info"].item() == {"by": "me"}

    @pytest.mark.parametrize(("kind", "written"), [("f4", "f4"), ("i8", "f8")])
    def test_a_changed_pose_in_the_types_of_the_file(self, kind: str, written: str, tmp_path: Path) -> None:
        """Whole numbers become others where they have to."""
        arrays: dict[str, Any] = {"keypoints": np.full((1, 16, 2), 7, kind), "scores": np.ones((1, 16), int)}
        arrays |= {"skeleton": "mpii16", "frames": np.zeros(1, np.int16)}
        sequence = read(FORMAT, saved(tmp_path / "a.npz", arrays))
        FORMAT.write([moved(sequence, right_ankle=(1.5, 2.25))], tmp_path / "b.npz")
        arrays["keypoints"] = arrays["keypoints"].astype(written)
        arrays["keypoints"][0, 0] = 1.5, 2.25
        assert_same(loaded(tmp_path / "b.npz"), arrays)

    def test_somebody_new(self, tmp_path: Path) -> None:
        kinds: dict[str, Any] = {"scores": np.full((2, 17), 0.25), "track_ids": np.array([4, 5], np.uint8)}
        arrays = people([1, 2], [3, 4], frames=[1, 2], all_frames=np.arange(3), **kinds)
        sequence = read(FORMAT, saved(tmp_path / "a.npz", arrays))
        first = with_another(sequence.frames[0], np.ones((17, 2)), scores=np.full((1, 17), 0.5), track_ids=(70,))
        FORMAT.write([with_frame(sequence, 0, first)], tmp_path / "b.npz")
        new = {"keypoints": np.ones((1, 17, 2)), "scores": np.full((1, 17), 0.5), "frames": [0], "track_ids": [70]}
        for name, array in loaded(tmp_path / "b.npz").items():
            expected = np.append(arrays[name], new[name], axis=0) if name in new else arrays[name]
            np.testing.assert_array_equal(array, expected, err_msg=name)

    @pytest.mark.parametrize(("new", "text"), [((None,), ""), ((8,), "8"), (("longer",), "longer")])
    def test_somebody_new_among_texts(self, new: Any, text: str, tmp_path: Path) -> None:
        arrays = people([1, 2], images=["a"], track_ids=["b"], all_images=["a", "image"])
        sequence = read(FORMAT, saved(tmp_path / "a.npz", arrays))
        frames = [sequence.frames[0], with_another(sequence.frames[1], np.ones((17, 2)), track_ids=new)]
        FORMAT.write([replace(sequence, frames=frames)], tmp_path / "b.npz")
        found = loaded(tmp_path / "b.npz")
        assert found["track_ids"].tolist() == ["b", text]
        assert found["images"].tolist() == ["a", "image"]

    def test_from_scratch(self, tmp_path: Path) -> None:
        """In the skeleton of the first frame, without arrays that would say nothing."""
        keypoints = np.arange(32.0).reshape(1, 16, 2)
        frame = Frame("b.jpg", MPII16, keypoints, person_scores=np.array([1.5]), track_ids=(None,))
        FORMAT.write([PoseSequence("a", [Frame.empty("a.jpg", MPII16), frame])], tmp_path / "b.npz")
        expected = {"keypoints": keypoints, "flags": np.ones((1, 16)), "person_scores": [1.5], "skeleton": "mpii16"}
        assert_same(loaded(tmp_path / "b.npz"), {**expected, "images": ["b.jpg"], "all_images": ["a.jpg", "b.jpg"]})
        with zipfile.ZipFile(tmp_path / "b.npz") as archive:  # the same bytes at any time
            assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


PERSON = people([1, 2], frames=[0])
BOTH = people([1, 2], frames=[0], images=["a"])
KINDS = st.sampled_from([np.dtype(kind) for kind in ("f8", "f4", "i8", "u1", "?", "U3", "S2")])
NAMES = ["images", "frames", "all_images", "all_frames", "boxes", "person_scores", "track_ids", "skeleton", "other"]


def named(count: int, **arrays: Any) -> dict[str, Any]:
    """A person without a skeleton's name."""
    return {"keypoints": np.ones((1, count, 2)), "frames": [0], **arrays}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.ones(3)}, r"expected the array keypoints \(N, K, 2\), found none we know"),
        ({**PERSON, "keypoints": np.ones((1, 17, 3))}, "keypoints: .* found .*; put the scores into an array scores"),
        ({**PERSON, "keypoints": np.ones(34)}, r"keypoints: expected the shape \(N, K, 2\), found \(34,\)$"),
        ({**PERSON, "keypoints": np.ones((1, 17, 2), "U3")}, "keypoints: expected numbers, found <U3"),
        ({**PERSON, "keypoints": np.ones((1, 17, 2), complex)}, "keypoints: expected numbers, found complex128"),
        ({**PERSON, "keypoints": np.ones((1, 17, 2), object)}, "keypoints: holds Python objects; expected an array"),
        ({**PERSON, "scores": np.ones((1, 17, 1))}, r"scores: expected the shape \(1, 17\), found \(1, 17, 1\)"),
        ({**PERSON, "frames": [0.5], "scores": np.ones(1)}, r"scores: expected the shape \(1, 17\), found"),
        ({**PERSON, "boxes": np.ones((2, 4))}, r"boxes: expected the shape \(1, 4\), found \(2, 4\)"),
        ({**PERSON, "frames": [0.5]}, "frames: expected whole numbers, found float64"),
        ({**PERSON, "frames": [-1]}, "frames: expected the numbers of images in the video, from 0"),
        ({**PERSON, "frames": np.array([2**64 - 1])}, "frames: expected the numbers of images"),
        ({**PERSON, "frames": [0, 1]}, r"frames: expected the shape \(1,\), found \(2,\)"),
        ({**PERSON, "images": [b"a"]}, r"images: expected texts, found \|S1"),
        ({**PERSON, "track_ids": [1.5]}, "track_ids: expected whole numbers, found float64"),
        (people([1, 2]), r"expected the array frames \(N,\) or images \(N,\), which image each person is in"),
        ({**PERSON, "all_frames": [1, 2]}, r"frames\[0\]: expected an image of all_frames, found 0$"),
        (people([1, 2], all_images=["a"]), r"expected the array images \(N,\) beside all_images, found none"),
        ({**BOTH, "all_images": ["a"]}, "expected the array all_frames beside all_images, found none"),
        ({**BOTH, "all_images": ["a"], "all_frames": [0, 1]}, "expected as many all_images as all_frames"),
        ({**PERSON, "all_frames": [[0]]}, r"all_frames: expected the shape \(1,\), found \(1, 1\)"),
        (named(17), r"expected the array skeleton \(one of posetrack15, .*\) or keypoint_names \(17 texts\), found"),
        ({**PERSON, "skeleton": "coco"}, "skeleton: expected one of posetrack15, .*, found 'coco'"),
        ({**PERSON, "skeleton": 17}, "skeleton: expected texts, found int64"),
        ({**PERSON, "skeleton": "mpii16"}, "keypoints: expected the 16 keypoints of mpii16, found 17"),
        ({**PERSON, "keypoint_names": list("abcdefghijklmnopq")}, "keypoint_names: expected those of the skeleton"),
        (named(2, keypoint_names=["a", "a"]), "keypoint_names: expected each name once, found a, a"),
        (named(0, keypoint_names=np.zeros(0, "U1")), "keypoint_names: expected each name once, found none"),
    ],
)
def test_what_cannot_be_read_is_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert re.match(f": {message}", refusal(FORMAT, saved(tmp_path / "a.npz", arrays)))


def test_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("{}")
    message = refusal(FORMAT, tmp_path / "a.npz")
    assert re.fullmatch(r": cannot be read as an .npz file \(.*\); write it with np.savez", message)


def test_a_part_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("keypoints.npy", b"no array")
    message = refusal(FORMAT, tmp_path / "a.npz")
    assert re.match(r": keypoints: cannot be read \(.*\); expected an array of numbers", message)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_wild_arrays_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is read is written as it was."""
    folder = tmp_path_factory.mktemp("wild")
    wild = {
        name: data.draw(arrays_of(data.draw(KINDS), data.draw(shapes(min_dims=0, max_dims=3, min_side=0, max_side=2))))
        for name in data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    }
    path = saved(folder / "a.npz", {**PERSON, **wild})
    try:
        sequence = read(FORMAT, path)
    except UserError:
        return
    FORMAT.write([sequence], folder / "b.npz")
    assert_same(loaded(folder / "b.npz"), loaded(path))
