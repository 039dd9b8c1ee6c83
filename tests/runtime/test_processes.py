"""What a process knows of the others of its run."""

import os

import pytest

from hpr.runtime.processes import ALONE, Processes


def test_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    assert Processes.from_environment() == ALONE
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment() == Processes(9, 16, 1, 8)


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [(1, 1, 1), (2, 1, 1), (16, 1, 15), (2, 2, 1), (64, 8, 7), (64, 7, 8), (4, 8, 1)],
)
def test_spare_cores(cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert Processes(0, processes, 0, processes).spare_cores == expected
