"""Who refines what: every frame once, and nobody much more than the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.poses import Frame, PoseSequence
from hpr.refine.sharing import share
from hpr.skeleton import POSETRACK15


def sequence(*people: int) -> PoseSequence:
    """Returns a sequence whose frames have the given numbers of people."""
    return PoseSequence("a", [Frame("a.jpg", POSETRACK15, np.zeros((count, 15, 2))) for count in people])


def files(*sequences: list[int]) -> list[list[PoseSequence]]:
    """Files of one sequence each."""
    return [[sequence(*people)] for people in sequences]


@pytest.mark.parametrize(
    ("given_files", "processes", "expected"),
    [
        pytest.param([], 1, [[]], id="no file"),
        pytest.param([[]], 1, [[(0, 0, 0)]], id="no frame"),
        pytest.param([[0, 0]], 2, [[(0, 0, 2)], []], id="nobody"),
        pytest.param([[5]], 3, [[(0, 0, 1)], [], []], id="one frame for three"),
        pytest.param([[1, 2], [3]], 1, [[(0, 0, 2), (1, 0, 1)]], id="one process has all, uncut"),
        # The largest first, each to the one with the least.
        pytest.param([[1, 1], [1, 2], [4]], 2, [[(2, 0, 1)], [(0, 0, 2), (1, 0, 2)]], id="three files for two"),
        pytest.param([[2] * 8], 4, [[(0, i, i + 2)] for i in (0, 2, 4, 6)], id="one file is cut between frames"),
        # Into as many parts as there are processes, also where they are not equal.
        pytest.param([[3] * 10], 4, [[(0, 2, 5)], [(0, 7, 10)], [(0, 0, 2)], [(0, 5, 7)]], id="into unequal parts"),
        pytest.param([[100, 1, 1]], 2, [[(0, 0, 1)], [(0, 1, 3)]], id="a crowd is a part of its own"),
        pytest.param([[10], [11]], 2, [[(1, 0, 1)], [(0, 0, 1)]], id="slightly more than a fair share is not cut"),
        pytest.param([[0, 3, 0, 0, 3, 0]], 2, [[(0, 0, 2)], [(0, 2, 6)]], id="frames without people go along"),
    ],
)
def test_shares(given_files: list[list[int]], processes: int, expected: list[list[tuple[int, int, int]]]) -> None:
    """Parts are given by file, first frame and the frame behind the last."""
    shares = share(files(*given_files), processes)
    assert [[(part.file, part.start, part.stop) for part in parts] for parts in shares] == expected


PEOPLE = st.lists(st.integers(0, 9), max_size=30)


@settings(deadline=None, max_examples=200)
@given(counts=st.lists(st.lists(PEOPLE, max_size=2), max_size=6), processes=st.integers(1, 9))
def test_every_frame_once(counts: list[list[list[int]]], processes: int) -> None:
    given_files = [[sequence(*people) for people in own] for own in counts]
    shares = share(given_files, processes)
    assert len(shares) == processes
    for parts in shares:
        assert parts == sorted(parts, key=lambda p: (p.file, p.sequence, p.start))

    pieces = sorted((p for parts in shares for p in parts), key=lambda p: (p.file, p.sequence, p.start))
    for file, sequences in enumerate(given_files):
        for index, own in enumerate(sequences):
            found = [p for p in pieces if (p.file, p.sequence) == (file, index)]
            assert [0, *(p.stop for p in found)] == [*(p.start for p in found), len(own.frames)]
            for piece in found:
                assert piece.people == sum(len(frame) for frame in own.frames[piece.start : piece.stop])
                assert piece.stop > piece.start or not own.frames
            pieces = [p for p in pieces if p not in found]
    assert pieces == []
    assert share(given_files, processes) == shares  # every process comes to the same


@settings(deadline=None, max_examples=200)
@given(people=st.lists(st.integers(0, 9), min_size=1, max_size=200), processes=st.integers(2, 9))
def test_one_huge_file_is_balanced(people: list[int], processes: int) -> None:
    """Each process has its fair share, give or take one frame's people."""
    shares = share(files(people), processes)
    loads = [sum(p.people for p in parts) for parts in shares]
    assert sum(loads) == sum(people)
    assert all(abs(load - sum(people) / processes) <= max(people) for load in loads)
    assert sum(len(parts) for parts in shares) <= processes


@settings(deadline=None, max_examples=200)
@given(counts=st.lists(PEOPLE, min_size=1, max_size=30), processes=st.integers(2, 9))
def test_small_files_stay_whole(counts: list[list[int]], processes: int) -> None:
    """A file in pieces has to wait for all processes; one of up to a fair share is never cut."""
    given_files = files(*counts)
    shares = share(given_files, processes)
    fair = sum(map(sum, counts)) / processes
    for file, people in enumerate(counts):
        pieces = [p for parts in shares for p in parts if p.file == file]
        if sum(people) <= fair:
            assert [(piece.start, piece.stop, piece.people) for piece in pieces] == [(0, len(people), sum(people))]
    loads = [sum(p.people for p in parts) for parts in shares]
    most = max((frame for people in counts for frame in people), default=0)
    assert max(loads) <= 2.25 * fair + most
