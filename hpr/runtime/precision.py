"""Which floating-point format a network computes in."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from hpr.errors import UserError, counted

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]

PrecisionSetting = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""What a user can choose."""

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Data type of tensors in each precision."""


def select_precision(name: str, device: torch.device, for_training: bool = False) -> PrecisionName:
    """Returns the precision of that name; "auto" is the fastest one that harms neither scores nor training.

    On a CPU that is fp32. On a GPU it is TF32 for refining (docs/performance.md), and bf16 for training where the GPU
    has it (weights and averages stay in fp32); a GPU without TF32 computes in fp32 instead.

    Raises:
        UserError: There is no such precision.
    """
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if for_training and torch.cuda.is_bf16_supported(including_emulation=False) else "tf32"
    if name not in DTYPES:
        raise UserError(f"precision={name}: expected one of {', '.join(get_args(PrecisionSetting))}")
    return name  # type: ignore[return-value]


def slow_precision(precision: PrecisionName, device: torch.device) -> str | None:
    """Returns a warning if the device emulates a precision, else None."""
    is_emulated = precision == "fp16" or (precision == "bf16" and not cpu_has_bf16())
    if device.type != "cpu" or not is_emulated:
        return None
    return f"precision={precision}: this CPU has no {precision} arithmetic and takes several times as long as in fp32"


def cpu_has_bf16() -> bool:
    """Returns whether the CPU multiplies in bf16; assumed for CPUs other than x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    # ATEN_CPU_CAPABILITY lowers the first; the second is what the processor reports.
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool(torch.cpu._is_avx512_bf16_supported())


_LONG_RUN = 60.0
"""Seconds; a shorter run is not worth advice."""


def bf16_advice(people: int, is_large: bool, passes: int, cores: int) -> str | None:
    """Returns a line of advice if people take this CPU more than a minute in fp32 and bf16 is faster, else None.

    The times are those of the published network and the photograph refiner on one core with AMX (docs/performance.md).

    Args:
        people: Number of people to refine.
        is_large: Whether the network is of the published one's size rather than of the photograph refiner's.
        passes: How often a person goes through the network, also as a mirror image.
        cores: Number of cores that the run has.
    """
    if not cpu_has_amx():
        return None
    seconds_per_pass, gain = (0.9, "four times") if is_large else (0.04, "twice")
    seconds = people * passes * seconds_per_pass / cores
    if seconds < _LONG_RUN:
        return None
    time = f"{people} people take about {counted(round(seconds / 60), 'minute')} in fp32"
    change = "moves half of the keypoints by less than 0.1 pixels, and scores by 0.3 points at most"
    return f"{time}; precision=bf16 is {gain} as fast here; it {change} (docs/performance.md)"


def cpu_has_amx() -> bool:
    """Returns whether the CPU multiplies matrices in bf16: without AMX, bf16 was not faster (docs/performance.md)."""
    return cpu_has_bf16() and bool(torch.cpu._is_amx_tile_supported())


@contextmanager
def fp32_arithmetic(tf32: bool, benchmark: bool = False) -> Iterator[None]:
    """Makes convolutions and matrix products of fp32 tensors on CUDA compute in TF32, or truly in fp32.

    PyTorch's default is TF32 for convolutions, which has three decimal digits.

    Args:
        tf32: Whether to compute in TF32.
        benchmark: Whether cuDNN tries its algorithms on each new shape; worth it if few shapes recur.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with torch.backends.cudnn.flags(enabled=True, benchmark=benchmark, allow_tf32=tf32):
        matmul.allow_tf32 = tf32
        try:
            yield
        finally:
            matmul.allow_tf32 = before
