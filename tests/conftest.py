"""What the tests share: the golden data, the commands, and a stand-in for the published weights."""

import io
import itertools
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

# Processes of the tests that run at once (pytest-xdist), and programs that they start, share the cores; this has to be
# said before PyTorch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


import hydra
import numpy as np
import pytest
import standin
import torch
from omegaconf import DictConfig
from torch import nn

from hpr.cli import app
from hpr.cli.app import Command
from hpr.cli.main import main
from hpr.codec import draw_discs
from hpr.crops import Crop
from hpr.formats import Format, PoseTrack17, PoseTrack18
from hpr.images import Image
from hpr.models import tensorflow
from hpr.models.backbones.resnet import ResNet
from hpr.models.network import Refiner
from hpr.models.places import ASSETS
from hpr.models.resnet_shapes import ResNetShape
from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.poses import FloatArray, Frame
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.video import Video

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text())
SAMPLE = ASSETS / "sample"
PREDICTIONS = GOLDEN / "posetrack18" / "predictions"
GOLDEN_FILES = ["dataset=posetrack18", f"dataset.predictions={PREDICTIONS}", f"dataset.root={GOLDEN}"]
DEMO = ["model=demo", "device=cpu", "flip=false", "margin=50"]
POSETRACK: dict[str, Format] = {"posetrack18": PoseTrack18(), "posetrack17": PoseTrack17()}
# In the background of some shells Ctrl-C is ignored, and so it would be in every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

Network = TypeVar("Network", bound=nn.Module)

COMMAND_SECONDS = 240
"""A command that hangs is killed before the test itself is (setup.cfg, faulthandler_timeout)."""


def succeed(program: str | Command[Any], *settings: object, cwd: Path = ROOT, status: int = 0) -> str:
    """Runs a command that has to end with a status, in this process, and returns what it printed.

    The program is the name of a command of `hpr`, a file that stands for one (refine.py), or a command outside of hpr.
    """
    found, printed, errors = _run(program, settings, cwd)
    assert found == status, printed + errors
    return printed


def fail(program: str | Command[Any], *settings: object, cwd: Path = ROOT) -> str:
    """Runs a command that has to fail with one line, in this process, and returns that line."""
    status, printed, errors = _run(program, settings, cwd)
    assert status == 1, printed + errors
    lines = errors.strip().split("\n")
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    return lines[0]


def _run(program: str | Command[Any], settings: tuple[object, ...], cwd: Path) -> tuple[int, str, str]:
    """Runs a command in this process and returns its exit status and what it printed."""
    words, before = [str(word) for word in settings], Path.cwd()
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()) as errors:
        os.chdir(cwd)
        try:
            if isinstance(program, Command):
                status = app.main(program, words)
            else:
                main([Path(program).stem.replace("_", "-"), *words])
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os.chdir(before)
    return status, printed.getvalue(), errors.getvalue()


def command(program: str, *settings: object, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a file of the repository, or "-m" and a module, in a process of its own, as a user would.

    The variables are added to those of the environment.
    """
    line = [sys.executable, program if program.startswith("-") else str(ROOT / program), *map(str, settings)]
    given: dict[str, Any] = {"cwd": cwd, "env": os.environ | variables, "timeout": COMMAND_SECONDS}
    return subprocess.run(line, capture_output=True, text=True, check=False, **given)


def torchrun(program: str, *settings: object) -> subprocess.CompletedProcess[str]:
    """Runs a program of the project in two processes on this machine."""
    words = ["torch.distributed.run", "--nproc-per-node=2", "--standalone", ROOT / program, *settings]
    return command("-m", *words, OMP_NUM_THREADS="1")


def start(program: str, *settings: object, launcher: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Starts a file of the repository in a process and a session of its own, or by a launcher of processes."""
    line = [sys.executable, *launcher, str(ROOT / program), *map(str, settings)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def wait_for(folder: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    """Waits until a folder has a file, or the process has ended."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Makes writing fail as on a full disk where a file would grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def stopped_after(steps: int) -> Iterator[None]:
    """Makes `hpr train` in this process stop after some steps, as by Ctrl-C."""
    num_asked = itertools.count(1)
    signals = nullcontext(lambda: next(num_asked) >= steps)
    with mock.patch("hpr.cli.train.stop_signals", return_value=signals):
        yield


def read_report(folder: Path) -> dict[str, Any]:
    """Returns the report of `hpr refine` in its output folder."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def port(*settings: object, status: int = 0) -> str:
    """Ports a checkpoint by the command and returns what it printed, or the one line with which it has to fail.

    The process is one of its own: TensorFlow and Triton do not fit into one.
    """
    result = command("tools/port_tf_weights.py", *settings)
    assert result.returncode == status, result.stdout + result.stderr
    assert status == 0 or result.stderr.count("\n") == 1, result.stderr
    return result.stderr if status else result.stdout


def compose(command: str, *settings: str) -> DictConfig:
    """Composes the real configuration of a command."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra.compose(command, list(settings))


def joints_of(case: dict[str, Any]) -> FloatArray:
    """Returns the input pose of a golden case as (15, 2), NaN where missing."""
    joints = np.full((15, 2), np.nan)
    for joint, x, y in case["pose"]:
        joints[joint] = x, y
    return joints


def frames_of(path: Path) -> list[Image]:
    """Returns all frames of a video."""
    video = Video(path)
    return [video.read(replace(Frame.empty("", COCO17), number=number)) for number in range(video.frame_count)]


def discs_of(case: dict[str, Any]) -> torch.Tensor:
    """Returns the discs (1, 15, H, W) of the input pose of a golden case."""
    (x, y), (height, width) = case["crop_xy"], case["crop_hw"]
    crop = Crop(case["scale"], (0, 0), (x, y, x + width, y + height))
    return draw_discs(torch.from_numpy(crop.to_crop(joints_of(case)))[None], height, width)


def lively(network: Network) -> Network:
    """Returns a network whose batch norms do what those of a trained one do: turn zeros into other values."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def small_network(skeleton: Skeleton = POSETRACK15) -> Refiner:
    """A refiner with every kind of layer and lively batch-norm statistics, as narrow as can be trained on any CPU."""
    return lively(Refiner(partial(ResNet, shape=ResNetShape((1, 2, 2, 1), width=8)), skeleton))


def pose_errors(chance: float = 0.1, **changes: Any) -> PoseErrors:
    """Mistakes with the same chance for all keypoints and kinds of mistakes, but for those that are named."""
    chances = {**dict.fromkeys(("jitter", "miss", "inversion", "swap", "absent"), chance), "extra": 0.0}
    tables: dict[str, Any] = {
        name: dict.fromkeys(KEYPOINT_KINDS, changes.pop(name, own)) for name, own in chances.items()
    }
    return PoseErrors(**tables, **{"shift": 0.0, "crowded_swap": 1.0, "few_keypoints_miss": 1.0, **changes})


@pytest.fixture(params=CASES, ids=lambda case: case["name"])
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each golden case in turn."""
    return dict(request.param)


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of a stand-in for the published snapshot, with the optimizer slots of a training run."""
    prefix = tmp_path_factory.mktemp("model") / "snapshot-515000"
    result = command("tests/standin.py", "refiner", prefix)
    assert result.returncode == 0, result.stderr
    return prefix


@pytest.fixture(scope="session")
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in snapshot, ported by the command; without TensorFlow, its variables do not go through files."""
    if find_spec("tensorflow") is not None:
        snapshot: Path = request.getfixturevalue("snapshot")
        port(f"checkpoint={snapshot}")
        return snapshot.with_name("snapshot-515000.safetensors")

    variables = standin.refiner()
    shapes = {name: value.shape for name, value in variables.items()}
    reader = SimpleNamespace(get_variable_to_shape_map=lambda: shapes, get_tensor=variables.__getitem__)
    prefix = tmp_path_factory.mktemp("model") / "snapshot-515000"
    prefix.with_name("snapshot-515000.index").touch()
    with mock.patch.object(tensorflow, "_open_checkpoint", return_value=reader):
        tensorflow.port(prefix, prefix.with_name("snapshot-515000.safetensors"))
    return prefix.with_name("snapshot-515000.safetensors")


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """A worker process that outlives its test keeps the whole suite from ending."""
    yield
    assert multiprocessing.active_children() == []
