"""tools/check_gpu.sh, with programs in place of those that it runs: what becomes of their words and failures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

PYTHON = """#!/bin/sh
case "$*" in
  *is_available*) exit 0 ;;
  *{broken}*) echo "it went wrong"; exit 3 ;;
esac
echo "the figures of $*"
"""

STEPS = [
    "The machine",
    "Golden cases in fp32",
    "All other CUDA tests",
    *(f"The sample, {precision}" for precision in ("fp32", "tf32", "bf16", "fp16")),
    *(f"Refining, {precision}" for precision in ("fp32", "tf32", "fp16")),
    *(f"Training {model}, {precision}" for model in ("demo", "resnet101") for precision in ("tf32", "bf16")),
]


SHORT_STEPS = [
    "The machine",
    *(f"CUDA tests: {names}" for names in ("golden", "not golden and not halved", "halved")),
    *(f"The sample, {precision}" for precision in ("tf32", "bf16")),
    *(
        name.format(precision)
        for precision in ("tf32", "bf16")
        for name in (
            "Refining, {}",
            "Photographs, {}, photo.frames=384",
            "Photographs, {}, photo.frames=64 photo.people=16",
        )
    ),
    *(f"Training {model}, bf16" for model in ("resnet101", "demo")),
    "Profile of refining, bf16",
]


def check(programs: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """Runs the script with a folder of programs before all others."""
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop("PYTHON", None)
    line = ["bash", str(ROOT / "tools" / "check_gpu.sh"), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    result = check(Path(sys.executable).parent, tmp_path / "new" / "gpu.md")
    assert result.returncode == 1
    assert result.stderr == "error: tools/check_gpu.sh needs a GPU, and PyTorch sees none here\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["long", "short"])
@pytest.mark.parametrize(
    ("broken", "failures"), [("no_step", []), ("sample_bf16", ["The sample, bf16"])], ids=["all well", "one fails"]
)
def test_the_page(broken: str, failures: list[str], way: str, tmp_path: Path) -> None:
    """A step that fails is marked, and the others are run."""
    (tmp_path / "python3").write_text(PYTHON.format(broken=broken))
    (tmp_path / "python3").chmod(0o755)
    result = check(tmp_path, *(["short"] if way == "short" else []), tmp_path / "new" / "gpu.md")
    assert result.returncode == bool(failures), result.stdout + result.stderr
    assert f"steps that failed: {len(failures)}" in result.stdout

    page = (tmp_path / "new" / "gpu.md").read_text()
    titles = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    steps = SHORT_STEPS if way == "short" else STEPS
    assert titles == [f"FAILED: {title} (exit status 3)" if title in failures else title for title in steps]
    assert page.count("it went wrong") == len(failures)
    assert f"the figures of -m pytest -n 0 -rs {'-s --tb=short ' if way == 'short' else ''}-m cuda -k golden" in page
    assert page.count("the figures of tools/benchmark.py device=cuda output_dir=") == (9 if way == "short" else 7)
