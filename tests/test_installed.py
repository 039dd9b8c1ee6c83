"""The package as pip installs it, away from the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND_SECONDS, ROOT

from hpr.cli.main import COMMANDS


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, not editable, and its program; the libraries are this environment's."""
    folder, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "hpr"
    # Building leaves files behind, which are not to lie in the repository.
    source.mkdir()
    for part in ("conf", "hpr"):
        shutil.copytree(ROOT / part, source / part)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(source)]
    subprocess.run(pip, check=True, timeout=COMMAND_SECONDS)
    return folder


def run(installed: Path, cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program of the installed package in an empty folder."""
    line = [sys.executable, str(installed / "bin" / "hpr"), *words]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, env=environment
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(name: str, installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, name, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"hpr {name} NAME=VALUE")


def test_a_command_composes_its_settings(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "evaluate", "--cfg", "job")
    assert result.returncode == 0, result.stderr
    assert "predictions: ???" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_bundled_sample_is_refined(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "refine", "flip=false", "margin=100", "device=cpu")
    assert result.returncode == 0, result.stderr
    assert "198 of 198 refined" in result.stdout
    assert (tmp_path / "output" / "refined_mota" / "report.json").is_file()
    assert "<svg" in (tmp_path / "output" / "refined_mota" / "report.html").read_text()


def test_it_is_the_installed_package_that_runs(installed: Path, tmp_path: Path) -> None:
    """Not the repository's, which is on the path of this environment."""
    program = "import hpr, hpr.conf; print(hpr.__file__, hpr.conf.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert result.stdout.count(str(installed)) == 2
