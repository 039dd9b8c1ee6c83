"""Whole files: read once, refined in parts, and written as soon as each is complete."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats import Format, PoseTrack18
from hpr.images import ImageFolder
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import FileAssembly, PoseFile, check_images, read_files
from hpr.refine.results import Outcome
from hpr.refine.sharing import Part, RefinedPart, share
from hpr.refine.tally import Tally
from hpr.skeleton import POSETRACK15

COUNTS = {"a": [2, 0, 1, 1], "b": [1], "c": []}
"""Number of people in the frames of each file."""


def sequence(name: str, counts: Sequence[int]) -> PoseSequence:
    """Returns a sequence in which every third person of a frame has no keypoint."""
    frames = []
    for index, count in enumerate(counts):
        keypoints = np.full((count, 15, 2), float(index + 1))
        keypoints[2::3] = np.nan
        frames.append(Frame(f"{name}/{index}.jpg", POSETRACK15, keypoints, track_ids=tuple(range(count))))
    return PoseSequence(name, frames)


def pose_file(name: str, counts: Sequence[int]) -> PoseFile:
    return PoseFile(Path(name), [sequence(name, counts)], name)


def written(file_format: Format, folder: Path, counts: Mapping[str, Sequence[int]]) -> list[PoseFile]:
    """Writes files with such numbers of people and reads them."""
    for name, own in counts.items():
        file_format.write([sequence(name, own)], folder / f"{name}.json")
    return read_files(file_format, folder)


def moved(frame: Frame) -> Frame:
    return replace(frame, keypoints=frame.keypoints + 0.5)


def refined_part(files: Sequence[PoseFile], part: Part) -> RefinedPart:
    """Returns a part with everyone moved, and as many kept keypoints as it has people."""
    frames = files[part.file].sequences[part.sequence].frames[part.start : part.stop]
    tally = Tally(frames=len(frames), kept=part.people)
    tally.outcomes.update([Outcome.REFINED] * part.people)
    return RefinedPart(part, [moved(frame) for frame in frames], tally)


def shares_of(files: Sequence[PoseFile], processes: int) -> list[list[Part]]:
    return share([file.sequences for file in files], processes)


def documents(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*"))}


def add_all(assembly: FileAssembly, parts: Iterable[RefinedPart]) -> dict[str, Tally]:
    """Adds parts, waits for what can be written, and returns the tally of each sequence."""
    tallies: dict[str, Tally] = {}
    for refined in parts:
        tallies |= assembly.add(refined)
    return tallies | assembly.finish()


class TestReadFiles:
    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expected .json files in it, found none in 0 entries"):
            read_files(PoseTrack18(), tmp_path)

    @pytest.mark.parametrize("name", POSETRACK)
    def test_a_folder_and_one_file(self, name: str) -> None:
        folder, steps = GOLDEN / name / "predictions", list[int]()
        files = read_files(POSETRACK[name], folder, steps.append)
        names = ["seq_a.json", "seq_b.json"]
        assert [(file.path, file.output_name) for file in files] == [(folder / own, own) for own in names]
        assert [[own.name for own in file.sequences] for file in files] == [["seq_a"], ["seq_b"]]
        assert steps == [1, 1]
        (file,) = read_files(POSETRACK[name], folder / "seq_a.json")
        assert file.path == folder / "seq_a.json"


def test_check_images(tmp_path: Path) -> None:
    """One image is enough; without a frame, none has to be found."""
    check_images([], ImageFolder(tmp_path))
    check_images([pose_file("a", [])], ImageFolder(tmp_path))
    files = [pose_file(name, counts) for name, counts in COUNTS.items()]
    with pytest.raises(UserError, match=rf"^{tmp_path}: expected {tmp_path}/a/0.jpg and 4 more images, found none$"):
        check_images(files, ImageFolder(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").touch()
    check_images(files, ImageFolder(tmp_path))


def test_sizes_that_contradict_and_pictures_that_two_names_mean(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    images = ImageFolder(tmp_path)

    def check(*frames: tuple[str, tuple[int, int] | None]) -> list[str]:
        own = [replace(Frame.empty(name, POSETRACK15), size=size) for name, size in frames]
        return check_images([PoseFile(tmp_path, [PoseSequence("a", own)], "a.json")], images)

    assert check(("1.jpg", (30, 20)), ("2.jpg", None), ("3.jpg", (1, 1)), ("2", (0, 0))) == []
    said = "has 30 × 20 pixels, the file of poses says 60 × 40; poses may not fit the picture"
    assert check(("1.jpg", (30, 20)), ("2.jpg", (60, 40)), ("1", (5, 5))) == [f"{tmp_path}/2.jpg (and 1 more): {said}"]
    assert check(("clip_a/1.jpg", None), ("1.jpg", None), ("data/clip_a/1.jpg", None)) == []
    with pytest.raises(
        UserError, match=r"1.jpg: could be both 'clip_a/1.jpg' and 'clip_b/1.jpg', which the poses name"
    ):
        check(("clip_a/1.jpg", None), ("clip_b/1.jpg", None))


@pytest.mark.parametrize("name", POSETRACK)
class TestFileAssembly:
    def expected(self, name: str, files: Sequence[PoseFile], folder: Path) -> dict[str, Any]:
        """Returns what is written if everyone moves, without the people whom the published code removes."""
        for file in files:
            frames = [moved(frame) for frame in file.sequences[0].frames]
            if POSETRACK[name].removes_unposed:
                frames = [frame.select(frame.is_posed) for frame in frames]
            POSETRACK[name].write([replace(file.sequences[0], frames=frames)], folder / file.path.name)
        return documents(folder)

    @settings(deadline=None, max_examples=20)
    @given(data=st.data(), processes=st.integers(1, 4))
    def test_parts_in_any_order(
        self, name: str, data: st.DataObject, processes: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("assembly")
        files = written(POSETRACK[name], folder / "in", COUNTS | {"d": [4] * 5})
        shares = shares_of(files, processes)
        parts = data.draw(st.permutations([part for own in shares for part in own]))
        with FileAssembly(POSETRACK[name], files, shares, folder / "out") as assembly:
            tallies = add_all(assembly, (refined_part(files, part) for part in parts))
            assert assembly.incomplete() == []
        assert documents(folder / "out") == self.expected(name, files, folder / "expected")
        counts = {own: (tally.frames, tally.kept) for own, tally in tallies.items()}
        assert counts == {"a": (4, 4), "b": (1, 1), "c": (0, 0), "d": (5, 20)}

    def test_a_file_is_written_once_when_it_is_complete(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = written(POSETRACK[name], tmp_path / "in", {"a": [2, 2, 2, 2], "b": [1]})
        shares = shares_of(files, 3)
        of_a, of_b = ([part for own in shares for part in own if part.file == file] for file in (0, 1))
        assert len(of_a) > 1
        writes: list[str] = []
        monkeypatch.setattr(POSETRACK[name], "write", lambda sequences, path: writes.append(path.name), raising=False)
        with FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly:
            assert add_all(assembly, [refined_part(files, part) for part in of_a[:-1]]) == {}
            assert [refined.part for refined in assembly.incomplete()] == of_a[:-1]
            assert list(add_all(assembly, [refined_part(files, part) for part in of_b])) == ["b"]
            assert list(add_all(assembly, [refined_part(files, of_a[-1])])) == ["a"]
            assert assembly.incomplete() == []
        assert writes == ["b.json", "a.json"]

    def test_nothing_and_what_cannot_be_written(self, name: str, tmp_path: Path) -> None:
        with FileAssembly(POSETRACK[name], [], [[]], tmp_path / "out") as assembly:
            assert add_all(assembly, []) == {}
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").write_text("in the way")
        files = written(POSETRACK[name], tmp_path / "in", {"a": [1]})
        ((part,),) = shares_of(files, 1)
        with (
            pytest.raises(UserError, match=r"a.json: cannot be written"),
            FileAssembly(POSETRACK[name], files, [[part]], tmp_path / "out") as assembly,
        ):
            add_all(assembly, [refined_part(files, part)])


@pytest.mark.parametrize(("name", "left"), [("posetrack17", (0, 1)), ("posetrack18", (0, 1, 2))])
def test_people_without_a_keypoint(name: str, left: tuple[int, ...], tmp_path: Path) -> None:
    """Only those whom the input has without a keypoint are removed, and only from PoseTrack 2017."""
    file_format = POSETRACK[name]
    files = written(file_format, tmp_path / "in", {"a": [3, 0, 2]})
    shares = shares_of(files, 1)
    refined = refined_part(files, shares[0][0])
    last = refined.frames[-1]
    dropped = replace(last, keypoints=np.full_like(last.keypoints, np.nan), flags=np.zeros_like(last.flags))
    with FileAssembly(file_format, files, shares, tmp_path / "out") as assembly:
        add_all(assembly, [replace(refined, frames=[*refined.frames[:-1], dropped])])
    (found,) = file_format.read(tmp_path / "out" / "a.json")
    assert [frame.track_ids for frame in found.frames] == [left, (), (0, 1)]
    assert np.isnan(found.frames[-1].keypoints).all()
