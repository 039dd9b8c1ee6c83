"""The suite's own settings."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

ASLEEP = {
    "in Python": "import time; time.sleep(100)",
    "outside of Python": "import ctypes; ctypes.PyDLL(None).sleep(100)",  # holds the interpreter's lock
}


@pytest.mark.parametrize("where", ASLEEP)
def test_a_test_that_hangs_fails(where: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {ASLEEP[where]}\n")
    settings = ["-c", str(ROOT / "setup.cfg"), "-o", "faulthandler_timeout=1"]
    line = [sys.executable, "-m", "pytest", *settings, str(tmp_path)]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode != 0
    assert "Timeout" in result.stderr
    assert "in test_it" in result.stderr
