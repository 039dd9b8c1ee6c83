"""Devices and precisions: which are taken, which are refused, and which are slow."""

import platform
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, small_network

from hpr import PoseRefiner
from tools.bench.precision import benchmark_precisions
from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.runtime import precision as precisions
from hpr.runtime.device import device_name, select_device
from hpr.runtime.precision import (
    PrecisionName,
    cpu_has_bf16,
    dtype_of,
    fp32_arithmetic,
    select_precision,
    slow_precision,
    training_precision,
)

ASSETS = ROOT / "hpr" / "assets"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def small_refiner(**settings: Any) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(), **{"device": "cpu", **settings})


def people() -> Any:
    random = np.random.default_rng(1)
    keypoints = random.uniform(0, 1, (5, 15, 2)) * [60, 110] + random.uniform(0, 90, (5, 1, 2)) * [1, 0]
    keypoints[random.uniform(size=(5, 15)) < 0.2] = np.nan
    return keypoints


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_lower_precision_is_near(precision: str) -> None:
    exact = small_refiner()(IMAGE, people())
    near = small_refiner(precision=precision)(IMAGE, people())
    assert np.nanmedian(np.abs(exact.confidence - near.confidence)) < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp64"}, "precision=fp64: expected one of auto, fp32, tf32, bf16, fp16"),
        ({"precision": ""}, "precision=: expected one of auto, fp32"),
        ({"device": "gpu"}, "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
        ({"device": ""}, "device=: expected auto, cpu, cuda or cuda:INDEX"),
        ({"device": "meta"}, "device=meta: expected auto"),
        ({"device": "cuda:99"}, "device=cuda:99: PyTorch sees"),
    ],
)
def test_wrong_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_refiner(**settings)


def test_auto_precision_on_a_cpu() -> None:
    assert small_refiner(precision="auto").precision == "fp32"


@pytest.mark.parametrize("has_bf16", [False, True])
@pytest.mark.parametrize(("device", "expected"), [(CPU, "fp32"), (CUDA, "tf32")], ids=str)
def test_auto_precision(device: torch.device, expected: str, has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never bf16, be it fast or not: it changes poses."""
    monkeypatch.setattr(precisions, "cpu_has_bf16", lambda: has_bf16)
    assert select_precision("auto", device) == expected


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_precisions_by_name(name: PrecisionName, dtype: torch.dtype, device: torch.device) -> None:
    assert select_precision(name, device) == name
    assert dtype_of(name) == dtype


def test_auto_device() -> None:
    assert select_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("is_available", "expected"), [(False, "cpu"), (True, "cuda")])
def test_auto_device_is_cuda_where_it_is(is_available: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(is_available))
    assert select_device("auto") == torch.device(expected)


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError, match=f"device={name}: PyTorch sees {count} CUDA devices here; use device=cpu"):
        select_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device(name) == torch.device(name)


def test_name_of_a_cpu() -> None:
    assert device_name(CPU) == "cpu"
    assert small_refiner().device_name == "cpu"


class TestCpuHasBf16:
    """What the processor says of itself counts, and what PyTorch was told to use of it."""

    @pytest.mark.parametrize(
        ("machine", "capability", "multiplies", "expected"),
        [
            pytest.param("x86_64", "DEFAULT", False, False, id="old"),
            pytest.param("x86_64", "AVX2", False, False, id="AVX2 only"),
            pytest.param("x86_64", "AVX512", False, False, id="AVX-512 without bf16"),
            pytest.param("x86_64", "AVX512", True, True, id="AVX-512 with bf16"),
            pytest.param("x86_64", "AVX2", True, False, id="told not to use AVX-512"),
            pytest.param("AMD64", "AVX2", False, False, id="as Windows calls it"),
            pytest.param("AMD64", "AVX512", True, True, id="as Windows calls it, with bf16"),
            pytest.param("aarch64", "DEFAULT", False, True, id="another processor"),
            pytest.param("arm64", "DEFAULT", False, True, id="another processor, as macOS calls it"),
        ],
    )
    def test_of(
        self, machine: str, capability: str, multiplies: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: multiplies)
        assert cpu_has_bf16() is expected

    def test_of_this_one(self) -> None:
        assert cpu_has_bf16() in (False, True)


class TestSlowPrecision:
    @pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
    @pytest.mark.parametrize("has_bf16", [False, True])
    def test_a_gpu_has_all(self, has_bf16: bool, precision: PrecisionName, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precisions, "cpu_has_bf16", lambda: has_bf16)
        assert slow_precision(precision, CUDA) is None

    @pytest.mark.parametrize(
        ("precision", "has_bf16", "slow"),
        [
            ("fp32", False, False),
            ("tf32", False, False),
            ("bf16", False, True),
            ("bf16", True, False),
            ("fp16", False, True),
            ("fp16", True, True),
        ],
    )
    def test_a_cpu(self, precision: PrecisionName, has_bf16: bool, slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precisions, "cpu_has_bf16", lambda: has_bf16)
        warning = slow_precision(precision, CPU)
        assert (warning is not None) == slow
        if warning is not None:
            assert warning.startswith(f"precision={precision}: this CPU has no {precision} arithmetic")
            assert "\n" not in warning


@pytest.mark.parametrize("before", [True, False])
def test_fp32_arithmetic_leaves_no_trace(before: bool) -> None:
    matmul = torch.backends.cuda.matmul
    original = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
        with fp32_arithmetic(tf32=not before):
            assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is (not before)
            assert torch.backends.cudnn.enabled
            assert not torch.backends.cudnn.benchmark
        with fp32_arithmetic(tf32=not before, benchmark=True):
            assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.benchmark
        assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is before
        with pytest.raises(RuntimeError, match="interrupted"), fp32_arithmetic(tf32=not before):
            raise RuntimeError("interrupted")
        assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is before
    finally:
        matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = original


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_precision_on_cuda_is_near() -> None:
    sample, weights = ASSETS / "sample", ASSETS / "demo.safetensors"
    folders = (sample / "predictions", sample / "annotations")
    exact, auto = benchmark_precisions(weights, "cuda", ["auto"], PoseTrack18(), ImageFolder(sample), *folders)
    assert auto["mean_shift"] < 0.05
    assert abs(auto["mAP"] - exact["mAP"]) < 0.1
    assert abs(auto["MOTA"] - exact["MOTA"]) < 0.1


@pytest.mark.parametrize(
    ("device", "has_bf16", "expected"),
    [(CPU, False, "fp32"), (CPU, True, "fp32"), (CUDA, False, "tf32"), (CUDA, True, "bf16")],
)
def test_auto_precision_of_training(
    device: torch.device, has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert training_precision("auto", device) == expected
    assert training_precision("fp16", device) == "fp16"
