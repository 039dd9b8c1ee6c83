"""The suite's own settings."""

from pathlib import Path

import pytest
from conftest import ROOT, command

ASLEEP = {
    "in Python": "import time; time.sleep(100)",
    "outside of Python": "import ctypes; ctypes.PyDLL(None).sleep(100)",  # holds the interpreter's lock
}


@pytest.mark.parametrize("where", ASLEEP)
def test_a_test_that_hangs_fails(where: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {ASLEEP[where]}\n")
    settings = ["-c", str(ROOT / "setup.cfg"), "-o", "faulthandler_timeout=1"]
    result = command("-m", "pytest", *settings, tmp_path, cwd=tmp_path)
    assert result.returncode != 0
    assert "Timeout" in result.stderr
    assert "in test_it" in result.stderr
