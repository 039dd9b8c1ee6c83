"""`hpr train`, on a few small crops."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import COMMAND_SECONDS, fail, start, succeed, torchrun, wait_for

from hpr.models.weights import load

SMALL = [
    "canvas=[96,96]",
    "training.steps=4",
    "training.batch_size=4",
    "training.num_workers=1",
    "dataset.validation.clips=1",
    "dataset.validation.frames=2",
    "device=cpu",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run's folder and what it printed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, succeed("train.py", *SMALL, f"output_dir={folder}")


def test_a_run_prints_a_table_and_leaves_everything_behind(trained: tuple[Path, str]) -> None:
    folder, output = trained
    assert re.search(r"mAP +MOTA +PCKh\ninput +\d+\.\d +-?\d+\.\d +\d+\.\d\nrefined", output)
    assert f"hpr refine POSES IMAGES model.weights={folder}/best.safetensors" in output
    line = r"^step 1 of 4: loss \d+\.\d+, learning rate [^ ]+, \S+ steps per second, \d\d:\d\d left$"
    assert re.search(line, output, re.MULTILINE), "where there is no terminal to show a bar in"

    names = {"best.safetensors", "last.safetensors", "last.pt", "config.yaml", "curves", "validation"}
    assert {path.name for path in folder.iterdir()} == names
    config = (folder / "config.yaml").read_text()
    assert "batch_size: 4" in config
    assert re.search(r"commit: \w+", config)


def test_a_second_run_does_not_overwrite_the_first(trained: tuple[Path, str]) -> None:
    words = [*SMALL, f"output_dir={trained[0]}"]
    assert "resume=true" in fail("train.py", *words)
    printed = succeed("train.py", *words, "resume=true")
    assert "nothing to do: the run in" in printed
    assert "stopped" not in printed


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(os.kill, signal.SIGINT, id="Ctrl-C"),
        pytest.param(os.killpg, signal.SIGTERM, id="SIGTERM to all processes, as clusters do"),
    ],
)
def test_a_signal_saves_and_resume_continues(
    send: Callable[[int, int], None], number: int, trained: tuple[Path, str], tmp_path: Path
) -> None:
    process = start("train.py", *SMALL, f"output_dir={tmp_path / 'run'}", "training.checkpoint_every=1")
    wait_for(tmp_path / "run", "last.pt", process)
    send(process.pid, number)
    printed, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130, printed + errors
    resumed = succeed("train.py", *SMALL, f"output_dir={tmp_path / 'run'}", "resume=true")
    assert "after 4 steps" in resumed
    straight, _ = load(trained[0] / "last.safetensors")
    interrupted, _ = load(tmp_path / "run" / "last.safetensors")
    assert all(np.array_equal(straight[name], interrupted[name]) for name in straight)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    """Under torchrun with gloo, batch norms frozen: the same weights as from one process with the whole batch."""
    settings = [*SMALL, "training.batch_norm=frozen", "training.accumulate=2"]
    succeed("train.py", *settings, f"output_dir={tmp_path / 'one'}")
    result = torchrun("train.py", *settings, "training.accumulate=1", f"output_dir={tmp_path / 'two'}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("after 4 steps") == 1
    one, _ = load(tmp_path / "one" / "last.safetensors")
    two, _ = load(tmp_path / "two" / "last.safetensors")
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=2e-3, atol=2e-4, err_msg=name)
