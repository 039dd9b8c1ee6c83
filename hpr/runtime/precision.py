"""Which floating-point format a network computes in."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from hpr.errors import UserError

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]

PrecisionSetting = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""What a user can choose."""

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_precision(name: str, device: torch.device) -> PrecisionName:
    """Returns the precision of that name; "auto" changes no score on the device (docs/performance.md).

    "auto" is TF32 on CUDA and fp32 on a CPU, even on one with bf16 arithmetic.

    Raises:
        UserError: There is no such precision.
    """
    if name == "auto":
        return "tf32" if device.type == "cuda" else "fp32"
    if name not in _DTYPES:
        raise UserError(f"precision={name}: expected one of {', '.join(get_args(PrecisionSetting))}")
    return name  # type: ignore[return-value]


def training_precision(name: PrecisionSetting, device: torch.device) -> PrecisionName:
    """Returns the precision of that name for training; "auto" is the fastest one that trains well on the device.

    "auto" is bf16 on a GPU with bf16 arithmetic (weights and averages stay in fp32), TF32 on an older GPU, where it
    falls back to fp32 if there is no TF32 either, and fp32 on a CPU.
    """
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "tf32"


def dtype_of(precision: PrecisionName) -> torch.dtype:
    """Returns the data type of tensors in a precision."""
    return _DTYPES[precision]


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
