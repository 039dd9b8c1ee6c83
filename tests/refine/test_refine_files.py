"""Whole files: read once, refined in parts, and written as soon as each is complete."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN, POSETRACK, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats import Format, PoseTrack17, PoseTrack18
from hpr.images import ImageFolder
from hpr.refine.engine import Outcome, PoseRefiner
from hpr.refine.objective import MAP
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import FileAssembly, PoseFile, RefinedPiece, check_images, read_files, refine_share
from hpr.refine.sharing import Part, share
from hpr.refine.stream import refine_sequences
from hpr.refine.tally import Tally
from hpr.skeleton import POSETRACK15

COUNTS = {"a": [2, 0, 1, 1], "b": [1], "c": []}
"""People in the frames of the files."""


def sequence(name: str, counts: Sequence[int]) -> PoseSequence:
    """A sequence in which every third person has no keypoint."""
    frames = []
    for number, count in enumerate(counts):
        keypoints = np.full((count, 15, 2), float(number + 1))
        keypoints[2::3] = np.nan
        frames.append(Frame(f"{name}/{number}.jpg", POSETRACK15, keypoints, track_ids=tuple(range(count))))
    return PoseSequence(name, frames)


def written(file_format: Format, folder: Path, counts: Mapping[str, Sequence[int]]) -> list[PoseFile]:
    """Writes files with so many people in their frames and reads them."""
    for name, own in counts.items():
        file_format.write([sequence(name, own)], folder / f"{name}.json")
    return read_files(file_format, folder)


def moved(frame: Frame) -> Frame:
    return replace(frame, keypoints=frame.keypoints + 0.5)


def piece(files: Sequence[PoseFile], part: Part) -> RefinedPiece:
    """Returns a part with everyone moved, and as many kept keypoints as it has people."""
    frames = files[part.file].sequences[part.sequence].frames[part.start : part.stop]
    outcomes = {Outcome.REFINED: part.people} if part.people else {}
    tally = Tally(frames=len(frames), kept=part.people)
    tally.outcomes.update(outcomes)
    return RefinedPiece(part, [moved(frame) for frame in frames], tally)


def shares_of(files: Sequence[PoseFile], processes: int) -> list[list[Part]]:
    return share([file.sequences for file in files], processes)


def documents(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*"))}


def put(assembly: FileAssembly, pieces: Iterable[RefinedPiece]) -> dict[str, Tally]:
    """Puts pieces in, waits for what can be written, and returns what happened in each sequence."""
    tallies: dict[str, Tally] = {}
    for own in pieces:
        tallies |= dict(assembly.put(own))
    return tallies | dict(assembly.rest())


class TestReadFiles:
    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expected .json files in it, found none in 0 entries"):
            read_files(PoseTrack18(), tmp_path)

    @pytest.mark.parametrize("name", POSETRACK)
    def test_a_folder(self, name: str) -> None:
        steps: list[int] = []
        folder = GOLDEN / name / "predictions"
        files = read_files(POSETRACK[name], folder, steps.append)
        assert [file.path for file in files] == [folder / "seq_a.json", folder / "seq_b.json"]
        assert [[own.name for own in file.sequences] for file in files] == [["seq_a"], ["seq_b"]]
        assert steps == [1, 1]

    def test_one_file(self) -> None:
        path = GOLDEN / "posetrack18" / "predictions" / "seq_a.json"
        (file,) = read_files(PoseTrack18(), path)
        assert file.path == path

    def test_a_broken_one(self, tmp_path: Path) -> None:
        written(PoseTrack18(), tmp_path, {"a": [1]})
        (tmp_path / "b.json").write_text("{")
        with pytest.raises(UserError, match=r"b.json: not valid JSON"):
            read_files(PoseTrack18(), tmp_path)


class TestCheckImages:
    def test_nothing_to_be_found(self, tmp_path: Path) -> None:
        check_images([], ImageFolder(tmp_path))
        check_images([PoseFile(Path("a"), [sequence("a", [])])], ImageFolder(tmp_path))

    def test_one_is_enough(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.jpg").touch()
        check_images([PoseFile(Path("a"), [sequence("a", [1, 1])])], ImageFolder(tmp_path))

    def test_not_one(self, tmp_path: Path) -> None:
        files = [PoseFile(Path(name), [sequence(name, counts)]) for name, counts in COUNTS.items()]
        with pytest.raises(UserError) as error:
            check_images(files, ImageFolder(tmp_path))
        assert str(error.value) == f"{tmp_path}: expected {tmp_path}/a/0.jpg and 4 more images, found none"

    def test_all_outside(self, tmp_path: Path) -> None:
        """What is said of the first is what helps."""
        (tmp_path / "0.jpg").touch()
        (tmp_path / "inner").mkdir()
        files = [PoseFile(Path("a"), [sequence("..", [1])])]
        with pytest.raises(UserError, match=r"add dataset.outside=true"):
            check_images(files, ImageFolder(tmp_path / "inner"))
        check_images(files, ImageFolder(tmp_path / "inner", outside=True))


@pytest.mark.parametrize("name", POSETRACK)
class TestFileAssembly:
    def expected(self, name: str, files: Sequence[PoseFile], folder: Path) -> dict[str, Any]:
        """What is written of everyone moved, without those whom the published code removes."""
        for file in files:
            moved_frames = [moved(frame) for frame in file.sequences[0].frames]
            if POSETRACK[name].removes_unposed:
                moved_frames = [frame.select(frame.is_posed) for frame in moved_frames]
            POSETRACK[name].write([replace(file.sequences[0], frames=moved_frames)], folder / file.path.name)
        return documents(folder)

    def test_nothing(self, name: str, tmp_path: Path) -> None:
        with FileAssembly(POSETRACK[name], [], [[]], tmp_path / "out") as assembly:
            assert put(assembly, []) == {}
            assert assembly.incomplete() == []
        assert not (tmp_path / "out").exists()

    @settings(deadline=None, max_examples=20)
    @given(data=st.data(), processes=st.integers(1, 4))
    def test_pieces_in_any_order(
        self, name: str, data: st.DataObject, processes: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("assembly")
        files = written(POSETRACK[name], folder / "in", COUNTS | {"d": [4] * 5})
        shares = shares_of(files, processes)
        parts = data.draw(st.permutations([part for own in shares for part in own]))
        with FileAssembly(POSETRACK[name], files, shares, folder / "out") as assembly:
            tallies = put(assembly, (piece(files, part) for part in parts))
            assert assembly.incomplete() == []
        assert documents(folder / "out") == self.expected(name, files, folder / "expected")
        assert {sequence_name: tally.frames for sequence_name, tally in tallies.items()} == {
            "a": 4,
            "b": 1,
            "c": 0,
            "d": 5,
        }
        assert {sequence_name: tally.kept for sequence_name, tally in tallies.items()} == {
            "a": 4,
            "b": 1,
            "c": 0,
            "d": 20,
        }

    def test_a_file_is_written_once_when_it_is_complete(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = written(POSETRACK[name], tmp_path / "in", {"a": [2, 2, 2, 2], "b": [1]})
        shares = shares_of(files, 3)
        parts = [part for own in shares for part in own]
        of_a, of_b = ([part for part in parts if part.file == file] for file in (0, 1))
        assert len(of_a) > 1
        writes: list[Path] = []
        monkeypatch.setattr(POSETRACK[name], "write", lambda sequences, path: writes.append(path), raising=False)
        with FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly:
            assert put(assembly, [piece(files, part) for part in of_a[:-1]]) == {}
            assert [own.part for own in assembly.incomplete()] == of_a[:-1]
            assert list(put(assembly, [piece(files, part) for part in of_b])) == ["b"]
            assert writes == [tmp_path / "out" / "b.json"]
            assert list(put(assembly, [piece(files, of_a[-1])])) == ["a"]
            assert assembly.incomplete() == []
        assert writes == [tmp_path / "out" / "b.json", tmp_path / "out" / "a.json"]

    @pytest.mark.parametrize("processes", [2, 3])
    def test_a_file_that_processes_share(self, processes: int, name: str, tmp_path: Path) -> None:
        """Each writes the files it has all of; the first writes what all of them together have."""
        files = written(POSETRACK[name], tmp_path / "in", {"a": [2] * 9, "b": [1], "c": [1], "d": []})
        shares = shares_of(files, processes)
        rest: list[RefinedPiece] = []
        tallies: list[str] = []
        for own in shares:
            with FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly:
                tallies += put(assembly, (piece(files, part) for part in own))
                rest += assembly.incomplete()
        assert sorted(documents(tmp_path / "out")) == ["b.json", "c.json", "d.json"]
        assert sorted(tallies) == ["b", "c", "d"]
        assert {own.part.file for own in rest} == {0}
        with FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly:
            assert list(put(assembly, rest)) == ["a"]
        assert documents(tmp_path / "out") == self.expected(name, files, tmp_path / "expected")

    def test_a_folder_that_cannot_be_written(self, name: str, tmp_path: Path) -> None:
        files = written(POSETRACK[name], tmp_path / "in", {"a": [1]})
        (tmp_path / "out").write_text("in the way")
        shares = shares_of(files, 1)
        with (
            FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly,
            pytest.raises(UserError, match=r"a.json: cannot be written"),
        ):
            put(assembly, [piece(files, part) for part in shares[0]])

    def test_an_error_elsewhere_does_not_hang(self, name: str, tmp_path: Path) -> None:
        files = written(POSETRACK[name], tmp_path / "in", {"a": [1], "b": [1]})
        shares = shares_of(files, 1)

        def pieces() -> Iterator[RefinedPiece]:
            yield piece(files, shares[0][0])
            raise KeyboardInterrupt

        with (
            pytest.raises(KeyboardInterrupt),
            FileAssembly(POSETRACK[name], files, shares, tmp_path / "out") as assembly,
        ):
            put(assembly, pieces())
        assert list(documents(tmp_path / "out")) == ["a.json"]  # what was complete has been written


class TestRemovesUnposed:
    """People without a present keypoint are in a PoseTrack 2018 file as before, but in no refined 2017 file."""

    def test_posetrack17(self, tmp_path: Path) -> None:
        files = written(PoseTrack17(), tmp_path / "in", {"a": [3, 0, 2]})
        self.write(PoseTrack17(), files, tmp_path / "out")
        (found,) = PoseTrack17().read(tmp_path / "out" / "a.json")
        assert [frame.track_ids for frame in found.frames] == [(0, 1), (), (0, 1)]

    def test_posetrack18(self, tmp_path: Path) -> None:
        files = written(PoseTrack18(), tmp_path / "in", {"a": [3, 0, 2]})
        self.write(PoseTrack18(), files, tmp_path / "out")
        (found,) = PoseTrack18().read(tmp_path / "out" / "a.json")
        assert [frame.track_ids for frame in found.frames] == [(0, 1, 2), (), (0, 1)]

    def test_who_loses_all_keypoints_is_kept(self, tmp_path: Path) -> None:
        """Who had one before is not removed, whatever refining left of it."""
        files = written(PoseTrack17(), tmp_path / "in", {"a": [2]})
        shares = shares_of(files, 1)
        own = piece(files, shares[0][0])
        nothing = replace(own.frames[0], keypoints=np.full((2, 15, 2), np.nan), flags=np.zeros((2, 15)))
        with FileAssembly(PoseTrack17(), files, shares, tmp_path / "out") as assembly:
            put(assembly, [replace(own, frames=[nothing])])
        ((frame,),) = (found.frames for found in PoseTrack17().read(tmp_path / "out" / "a.json"))
        assert frame.track_ids == (0, 1)
        assert np.isnan(frame.keypoints).all()

    def write(self, file_format: Format, files: Sequence[PoseFile], output: Path) -> None:
        shares = shares_of(files, 1)
        with FileAssembly(file_format, files, shares, output) as assembly:
            put(assembly, (piece(files, part) for part in shares[0]))


@pytest.fixture(scope="module")
def refiner() -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(), "cpu", flip=False)


@pytest.mark.parametrize("processes", [1, 3])
def test_shares_of_all_processes_are_the_whole(
    processes: int, refiner: PoseRefiner, posetrack17_root: Path, tmp_path: Path
) -> None:
    """Cut in pieces or not, a file has the same poses."""
    images = ImageFolder(posetrack17_root)
    files = read_files(PoseTrack17(), GOLDEN / "posetrack17" / "predictions")
    shares, steps = shares_of(files, processes), list[int]()
    with FileAssembly(PoseTrack17(), files, shares, tmp_path) as assembly:
        for own in shares:
            put(assembly, refine_share(refiner, files, own, images, MAP, steps.append))
        assert assembly.incomplete() == []
    assert sum(steps) == sum(file.sequences[0].people for file in files)
    for file in files:
        (expected,) = refine_sequences(refiner, file.sequences, images, MAP)
        (found,) = PoseTrack17().read(tmp_path / file.path.name)
        for after, alone, before in zip(found.frames, expected.frames, file.sequences[0].frames, strict=True):
            np.testing.assert_allclose(after.poses, alone.select(before.is_posed).poses, rtol=0, atol=0.005)


def test_no_share(refiner: PoseRefiner, tmp_path: Path) -> None:
    assert list(refine_share(refiner, [], [], ImageFolder(tmp_path), MAP)) == []
