"""Freed memory is kept."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from hpr.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(5_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(5_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_pages_are_not_asked_for_again() -> None:
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True).stdout)
        for how in ("give back", "keep")
    )
    assert kept < given_back / 5
