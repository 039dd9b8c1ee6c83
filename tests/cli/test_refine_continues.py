"""`hpr refine` when files are broken, runs are stopped or killed, and processes share the work."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import (
    COMMAND_SECONDS,
    DEMO,
    GOLDEN,
    GOLDEN_FILES,
    PREDICTIONS,
    fail,
    read_report,
    start,
    succeed,
    torchrun,
    wait_for,
)

from hpr.errors import counted
from hpr.formats import PoseTrack18
from hpr.models.places import ASSETS
from hpr.runtime.folders import lock_folder

SAMPLE = ["device=cpu", "flip=false", "margin=50"]
"""Settings under which each of the sample's four files takes a second or so."""


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """Two files and their images, in folders that a test may spoil."""
    shutil.copytree(PREDICTIONS, tmp_path / "in")
    shutil.copytree(GOLDEN / "images", tmp_path / "data" / "images")
    folders = [f"dataset.predictions={tmp_path / 'in'}", f"dataset.root={tmp_path / 'data'}"]
    return ["dataset=posetrack18", *DEMO, *folders, f"output_dir={tmp_path / 'out'}"]


def test_a_broken_file_is_skipped_if_wanted(settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "seq_a.json").write_text("{")
    fail("refine.py", *settings)
    assert not (tmp_path / "out").exists()
    with lock_folder(tmp_path / "out"):
        assert "another run is at work in it" in fail("refine.py", *settings, "skip_broken=true")

    printed = succeed("refine.py", *settings, "skip_broken=true", status=3)
    assert "seq_a.json: not valid JSON at line 1, column 2" in printed
    assert "not all was refined: 0 poses failed, 1 file skipped" in printed
    report = read_report(tmp_path / "out")
    assert report["sequences"].keys() == {"seq_b"}
    assert len(report["broken_files"]) == 1

    (tmp_path / "in" / "seq_b.json").write_text("{")
    assert "not one of the files can be read" in fail("refine.py", *settings, "skip_broken=true")


def test_the_same_command_continues(settings: list[str], tmp_path: Path) -> None:
    """Unless other settings would have given other results; what has changed since is refined again."""
    printed = succeed("refine.py", *settings)
    assert "warning: model=demo has seen drawn people alone" in printed
    assert ("people per second" in printed, "sequence  " in printed) == (True, True)
    folder = tmp_path / "out" / "predictions"
    straight = {path.name: path.read_bytes() for path in folder.iterdir()}
    first = read_report(tmp_path / "out")
    printed = succeed("refine.py", *settings)
    assert "2 of 2 files finished by an earlier run, skipped" in printed
    assert ("people per second" in printed, "sequence  " in printed) == (False, False), "counted by the first run"
    (folder / "seq_b.json").write_text("{}")  # has to be redone
    assert "1 of 2 files finished by an earlier run, skipped" in succeed("refine.py", *settings)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == straight
    second = read_report(tmp_path / "out")
    assert second["skipped_files"] == 1
    assert all(second[key] == first[key] for key in ("persons", "joints", "sequences"))

    changes = ["objective=map", "objective.keep=0.6", "objective.add=0.6", "objective.score=product"]
    for change in (*changes, "iterations=2", "flip=true", "precision=bf16"):
        message = fail("refine.py", *settings, change)
        remedy = "set another output_dir, or overwrite=true"
        assert f"seq_a.json was refined with other settings or weights; {remedy}" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == straight

    path = tmp_path / "in" / "seq_a.json"
    path.write_text(path.read_text() + " ")
    assert "1 of 2 files" in succeed("refine.py", *settings)
    assert "skipped" not in succeed("refine.py", *settings, "objective=map", "overwrite=true")
    assert (folder / "seq_a.json").read_bytes() != straight["seq_a.json"]


def test_poses_of_missing_images_are_refined_once_these_are_there(settings: list[str], tmp_path: Path) -> None:
    """Unless strict=true stops at the first missing image."""
    image = tmp_path / "data" / "images" / "a_640x480.png"
    content = image.read_bytes()
    image.unlink()
    assert "a_640x480.png: no such image" in fail("refine.py", *settings, "strict=true")
    assert not (tmp_path / "out" / "report.json").exists()
    succeed("refine.py", *settings, status=3)
    assert read_report(tmp_path / "out")["failed"] > 0

    image.write_bytes(content)
    succeed("refine.py", *settings)
    assert read_report(tmp_path / "out")["failed"] == 0


@pytest.mark.parametrize("library", ["numpy", "libtorch_cpu"])
def test_ctrl_c_while_libraries_are_loaded(library: str, tmp_path: Path) -> None:
    process = start("refine.py", *SAMPLE, f"output_dir={tmp_path / 'out'}")
    deadline = time.monotonic() + COMMAND_SECONDS
    while library not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130
    assert errors == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_finished_files_and_a_report(number: int, tmp_path: Path) -> None:
    process = start("refine.py", *SAMPLE, f"output_dir={tmp_path / 'out'}")
    wait_for(tmp_path / "out", "predictions/clip*", process)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130, printed + errors
    assert "Traceback" not in errors

    report = read_report(tmp_path / "out")
    written = {path.stem for path in (tmp_path / "out" / "predictions").iterdir()}
    assert report["stopped"]
    assert report["sequences"].keys() == written
    assert 1 <= len(written) < 4
    assert f"stopped: {counted(len(written), 'sequence')} complete; the same command continues" in printed


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    sample, settings = ASSETS / "sample", [*DEMO, f"dataset.images={ASSETS / 'sample'}"]
    for kind in ("predictions", "annotations"):
        (tmp_path / kind).mkdir()
        for path in sorted((sample / kind).iterdir())[:2]:
            shutil.copy(path, tmp_path / kind)
        settings.append(f"dataset.{kind}={tmp_path / kind}")
    succeed("refine.py", *settings, f"output_dir={straight}")
    process = start("refine.py", *settings, f"output_dir={killed}")
    wait_for(killed, ".journal/clip*", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    assert "finished by an earlier run, skipped" in succeed("refine.py", *settings, f"output_dir={killed}")
    for path in (straight / "predictions").iterdir():
        assert (killed / "predictions" / path.name).read_bytes() == path.read_bytes()
    assert not list((killed / "predictions").glob(".*"))
    assert read_report(killed)["metrics"] == read_report(straight)["metrics"]


@pytest.mark.slow
class TestSeveralProcesses:
    """Under torchrun, without a GPU."""

    def test_after_a_failure_of_one_the_same_command_continues(self, tmp_path: Path) -> None:
        """Also: sequences are shared, and reported once."""
        obstacle = tmp_path / "predictions" / "seq_b.json"
        obstacle.mkdir(parents=True)
        result = torchrun("refine.py", *GOLDEN_FILES, *DEMO, f"output_dir={tmp_path}")
        assert result.returncode != 0
        assert "seq_b.json: cannot be written" in result.stderr

        obstacle.rmdir()
        result = torchrun("refine.py", *GOLDEN_FILES, *DEMO, f"output_dir={tmp_path}")
        assert result.returncode == 0, result.stdout + result.stderr
        report = read_report(tmp_path)
        assert (report["processes"], report["sequences"].keys()) == (2, {"seq_a", "seq_b"})
        assert report["persons"]["seen"] == 10
        assert result.stdout.count("8 of 10 refined") == 1
        assert {path.name for path in (tmp_path / "predictions").iterdir()} == {"seq_a.json", "seq_b.json"}

    def test_a_large_file_is_shared_by_frames(self, tmp_path: Path) -> None:
        one = [f"dataset.predictions={PREDICTIONS / 'seq_a.json'}", f"output_dir={tmp_path}"]
        result = torchrun("refine.py", *GOLDEN_FILES, *DEMO, *one)
        assert result.returncode == 0, result.stdout + result.stderr
        report = read_report(tmp_path)
        assert (report["processes"], report["frames"], report["sequences"].keys()) == (2, 3, {"seq_a"})
        files = (tmp_path / "predictions" / "seq_a.json", GOLDEN / "posetrack18" / "refined_mota" / "seq_a.json")
        found, expected = (json.loads(path.read_text())["annotations"] for path in files)
        assert [entry["track_id"] for entry in found] == [entry["track_id"] for entry in expected]

    def test_a_killed_process_leaves_finished_files(self, tmp_path: Path) -> None:
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
        process = start("refine.py", *SAMPLE, f"output_dir={tmp_path}", launcher=launcher)
        wait_for(tmp_path, ".journal/clip*", process)
        os.kill(process_of_rank(1, tmp_path), signal.SIGKILL)
        process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode != 0
        finished = list((tmp_path / "predictions").glob("*.json"))
        assert finished
        for path in finished:
            PoseTrack18().read(path)
        printed = succeed("refine.py", *SAMPLE, f"output_dir={tmp_path}")
        assert "finished by an earlier run, skipped" in printed
        assert len(list((tmp_path / "predictions").iterdir())) == 4


def process_of_rank(rank: int, folder: Path) -> int:
    """Returns the id of a rank's process that writes below a folder."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (path / "environ").read_bytes().split(b"\0")
            if str(folder).encode() in (path / "cmdline").read_bytes() and f"RANK={rank}".encode() in variables:
                return int(path.name)
    raise AssertionError(rank)
