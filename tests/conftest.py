"""What the tests share: the golden data, the commands, and a stand-in for the published weights."""

import json
import multiprocessing
import multiprocessing.reduction
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from hpr.cli import CONF
from hpr.models.architectures import Architecture
from hpr.models.refiner import Refiner
from hpr.poses import FloatArray
from hpr.training.loop import MIN_CPU_CHANNELS

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text())
CASE_NAMES = [case["name"] for case in CASES]
COMMAND_SECONDS = 240
"""A command that hangs is killed before the test itself is (setup.cfg, faulthandler_timeout)."""


def command(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a python program of the project as a user would, in the folder cwd."""
    program, *settings = [str(word) for word in words]
    line = [sys.executable, str(ROOT / program), *settings]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)


def succeed(*words: object, cwd: Path = ROOT) -> str:
    """Runs a command that has to succeed and returns what it printed."""
    result = command(*words, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def fail(*words: object, cwd: Path = ROOT) -> str:
    """Runs a command that has to fail with one line and returns that line.

    Nearly all of such a command's time is PyTorch's start, so it is a fork of a process that has PyTorch loaded.
    """
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:
        inherited = [multiprocessing.reduction.DupFd(file.fileno()) for file in (printed, errors)]
        process = _FORKS.Process(target=_run, args=([str(word) for word in words], cwd, *inherited))
        process.start()
        process.join(COMMAND_SECONDS)
        process.kill()  # nothing to do where it has ended
        process.join()
        for file in (printed, errors):
            file.seek(0)
        message = errors.read()
        assert process.exitcode == 1, printed.read() + message
    lines = message.strip().split("\n")
    assert len(lines) == 1, message
    assert lines[0].startswith("error: ")
    return lines[0]


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["conftest", "hpr.refining", "hpr.evaluation.comparison", "hpr.training.loop"])


def _run(words: list[str], cwd: Path, printed: Any, errors: Any) -> None:
    """Runs a python program of the project in this process, with its output going to two files."""
    os.dup2(printed.detach(), 1)
    os.dup2(errors.detach(), 2)
    os.chdir(cwd)
    sys.argv = [str(ROOT / words[0]), *words[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def compose(command: str, *settings: str) -> DictConfig:
    """Composes the real configuration of a command."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(command, list(settings))


def joints_of(case: dict[str, Any]) -> FloatArray:
    """Returns the input pose of a golden case as (15, 2), NaN where missing."""
    joints = np.full((15, 2), np.nan)
    for joint, x, y in case["pose"]:
        joints[joint] = x, y
    return joints


def small_network() -> Refiner:
    """A refiner with every kind of layer and lively batch-norm statistics, as narrow as can be trained on any CPU."""
    network = Refiner(Architecture((1, 2, 2, 1), width=MIN_CPU_CHANNELS)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.weight) * 0.1
            module.running_var = torch.rand_like(module.weight) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


@pytest.fixture(params=CASES, ids=CASE_NAMES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each golden case in turn."""
    return dict(request.param)


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of a stand-in for the published snapshot, with the optimizer slots of a training run."""
    prefix = tmp_path_factory.mktemp("model") / "snapshot-515000"
    succeed("tests/standin.py", "refiner", prefix)
    return prefix


@pytest.fixture(scope="session")
def weights(snapshot: Path) -> Path:
    """The stand-in snapshot, ported by the command."""
    succeed("tools/port_tf_weights.py", f"checkpoint={snapshot}")
    return snapshot.with_name("snapshot-515000.safetensors")


@pytest.fixture(scope="session")
def posetrack17_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PoseTrack 2017 root folder with the images that the golden files name."""
    root = tmp_path_factory.mktemp("posetrack17")
    for path in (GOLDEN / "posetrack17" / "predictions").glob("*.json"):
        (root / "images" / path.stem).mkdir(parents=True)
        for image in (GOLDEN / "images").iterdir():
            shutil.copy(image, root / "images" / path.stem)
    return root


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    torch.manual_seed(0)
