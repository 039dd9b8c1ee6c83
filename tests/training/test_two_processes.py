"""Two processes that exchange by gloo train as one does with the whole batch."""

import os
from pathlib import Path

import pytest
import torch
import two_processes
from conftest import ROOT, torchrun

from hpr.runtime.processes import ALONE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind; started once, since that takes most of the time."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        result = torchrun("tests/training/two_processes.py", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", two_processes.CASES)
def test_two_are_one(case: str, folder: Path) -> None:
    """Also live batch norms, whose statistics are over both, in each part of a step."""
    one = two_processes.results(case, ALONE, (0, 1))
    two = torch.load(folder / f"{case}.pt", weights_only=True)
    torch.testing.assert_close(one["losses"], two["losses"], rtol=1e-6, atol=0)
    for name in ("network", "averaged"):
        for key, value in one[name].items():
            torch.testing.assert_close(two[name][key], value, rtol=1e-6, atol=1e-8, msg=f"{name} {key}")


@pytest.mark.slow
def test_a_request_to_stop_one_stops_both(folder: Path) -> None:
    steps = [(folder / f"stopped_{rank}").read_text() for rank in range(2)]
    assert steps == [str(two_processes.STOPPED_AT)] * 2
    assert (folder / "stopped" / "last.pt").exists()
