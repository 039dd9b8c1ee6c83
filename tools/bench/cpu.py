"""Which CPU the figures are of."""

import os
import platform
from pathlib import Path

import torch

_INSTRUCTION_SETS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16"}
"""By their names in Linux's /proc/cpuinfo."""


def describe_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns a CPU's kind, the cores this process may use, its instruction sets, and what PyTorch's own code uses."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    name = facts.get("model name") or platform.processor() or platform.machine()
    found = [words for flag, words in _INSTRUCTION_SETS.items() if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sets = ", ".join(found) or "instruction sets unknown"
    return f"{name}, {cores} cores; {sets}; PyTorch uses {torch.backends.cpu.get_cpu_capability()}"
