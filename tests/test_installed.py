"""The package as pip installs it, away from the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND_SECONDS, ROOT, command


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


def test_nothing_is_left_out(installed: Path) -> None:
    for folder, copy in ((ROOT / "conf", installed / "hpr" / "conf"), (ROOT / "hpr", installed / "hpr")):
        files = {path.relative_to(folder) for path in folder.rglob("*.*") if path.suffix != ".pyc"}
        assert [str(name) for name in sorted(files) if not (copy / name).is_file()] == []
    sizes = {path.name: path.stat().st_size for path in (installed / "hpr").rglob("*.*") if path.suffix != ".pyc"}
    assert 10_000_000 < sizes["photo.safetensors"] < 20_000_000
    assert sum(sizes.values()) < 30_000_000


def test_the_bundled_sample_is_refined(installed: Path, tmp_path: Path) -> None:
    clip = "dataset.predictions=${asset:sample/predictions/clip_0002_0001.json}"
    words = ["refine", "dataset=sample", clip, "flip=false", "margin=50", "device=cpu"]
    result = command(f"{installed}/bin/hpr", *words, cwd=tmp_path, PYTHONPATH=str(installed))
    assert result.returncode == 0, result.stderr
    assert re.search(r"(\d+) of \1 refined", result.stdout)
    assert (tmp_path / "output" / "refined_mota" / "report.json").is_file()
    assert "<svg" in (tmp_path / "output" / "refined_mota" / "report.html").read_text()


def test_it_is_the_installed_package_that_runs(installed: Path, tmp_path: Path) -> None:
    """Not the repository's, which is on the path of this environment."""
    program = "import hpr, hpr.conf; print(hpr.__file__, hpr.conf.__file__)"
    result = command("-c", program, cwd=tmp_path, PYTHONPATH=str(installed))
    assert result.stdout.count(str(installed)) == 2
