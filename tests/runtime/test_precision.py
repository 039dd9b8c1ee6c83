"""Devices and precisions: which are selected, which are refused, and which are slow."""

import platform
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, small_network

from hpr import PoseRefiner
from hpr.errors import UserError
from hpr.runtime import precision as precisions
from hpr.runtime.device import select_device
from hpr.runtime.precision import (
    DTYPES,
    PrecisionName,
    bf16_advice,
    cpu_has_amx,
    cpu_has_bf16,
    fp32_arithmetic,
    select_precision,
    slow_precision,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
KEYPOINTS = np.random.default_rng(1).uniform(0, 1, (5, 15, 2)) * [140, 110]


def small_refiner(**settings: Any) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(), **{"device": "cpu", **settings})


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_lower_precision_is_near(precision: str) -> None:
    refiner = small_refiner()
    exact, near = refiner(IMAGE, KEYPOINTS), small_refiner(precision=precision)(IMAGE, KEYPOINTS)
    assert refiner.device_name == "cpu"
    assert np.nanmedian(np.abs(exact.confidence - near.confidence)) < 0.02


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_precision_on_cuda_is_near() -> None:
    weights = ROOT / "hpr" / "assets" / "demo.safetensors"
    exact, auto = (PoseRefiner.load(weights, "cuda", name)(IMAGE, KEYPOINTS) for name in ("fp32", "auto"))
    assert np.nanmean(np.abs(exact.confidence - auto.confidence)) < 0.002
    assert np.nanmedian(np.abs(exact.keypoints - auto.keypoints)) < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp64"}, "precision=fp64: expected one of auto, fp32, tf32, bf16, fp16"),
        ({"precision": ""}, "precision=: expected one of auto, fp32"),
        ({"device": "gpu"}, "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
        ({"device": ""}, "device=: expected auto, cpu, cuda or cuda:INDEX"),
        ({"device": "meta"}, "device=meta: expected auto"),
    ],
)
def test_wrong_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_refiner(**settings)


@pytest.mark.parametrize("has_bf16", [False, True])
def test_auto_precision(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refining never selects bf16, which changes poses; training selects it on a GPU that has it."""
    monkeypatch.setattr(precisions, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert select_precision("auto", CPU) == select_precision("auto", CPU, for_training=True) == "fp32"
    assert select_precision("auto", CUDA) == "tf32"
    assert select_precision("auto", CUDA, for_training=True) == ("bf16" if has_bf16 else "tf32")
    for name in DTYPES:
        assert select_precision(name, CUDA) == select_precision(name, CUDA, for_training=True) == name


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 1, "cuda"),
        ("cpu", 0, "cpu"),
        ("cuda", 2, "cuda"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda", 0, None),
        ("cuda:2", 2, None),
    ],
)
def test_devices(name: str, count: int, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if expected is not None:
        assert select_device(name) == torch.device(expected)
        return
    with pytest.raises(UserError, match=f"device={name}: PyTorch sees {count} CUDA devices here; use device=cpu"):
        select_device(name)


@pytest.mark.parametrize(
    ("machine", "capability", "reported", "expected"),
    [
        pytest.param("x86_64", "DEFAULT", (False, False), (False, False), id="old"),
        pytest.param("x86_64", "AVX2", (False, False), (False, False), id="AVX2 only"),
        pytest.param("x86_64", "AVX512", (False, False), (False, False), id="AVX-512 without bf16"),
        pytest.param("AMD64", "AVX512", (True, False), (True, False), id="AVX-512 with bf16, as Windows calls it"),
        pytest.param("x86_64", "AVX512", (True, True), (True, True), id="AMX"),
        pytest.param("x86_64", "AVX2", (True, True), (False, False), id="PyTorch was told not to use AVX-512"),
        pytest.param("aarch64", "DEFAULT", (False, False), (True, False), id="another processor"),
    ],
)
def test_what_the_cpu_has(
    machine: str, capability: str, reported: tuple[bool, bool], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bf16 and AMX: what the processor reports, and what PyTorch can use."""
    assert {cpu_has_bf16(), cpu_has_amx()} <= {False, True}
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: reported[0])
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: reported[1])
    assert (cpu_has_bf16(), cpu_has_amx()) == expected


@pytest.mark.parametrize("has_bf16", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_slow_precision(precision: PrecisionName, has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "cpu_has_bf16", lambda: has_bf16)
    assert slow_precision(precision, CUDA) is None
    warning = slow_precision(precision, CPU) or ""
    is_slow = precision == "fp16" or (precision == "bf16" and not has_bf16)
    assert warning.startswith(f"precision={precision}: this CPU has no {precision} arithmetic") == is_slow
    assert bool(warning) == is_slow


@pytest.mark.parametrize(
    ("people", "is_large", "passes", "cores", "line"),
    [
        pytest.param(29, True, 2, 1, None, id="short"),
        pytest.param(90, True, 2, 1, "90 people take about 3 minutes in fp32; precision=bf16 is four", id="large"),
        pytest.param(90, True, 2, 4, None, id="many cores"),
        pytest.param(90, False, 2, 1, None, id="small network"),
        pytest.param(1600, False, 1, 1, "1600 people take about 1 minute in fp32", id="a minute"),
        pytest.param(9000, False, 1, 1, "9000 people take about 6 minutes in fp32; precision=bf16 is twice", id="many"),
    ],
)
def test_bf16_advice(
    people: int, is_large: bool, passes: int, cores: int, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "cpu_has_amx", lambda: True)
    advice = bf16_advice(people, is_large, passes, cores)
    assert (advice or "").startswith(line or "")
    assert (advice is None) == (line is None)
    monkeypatch.setattr(precisions, "cpu_has_amx", lambda: False)
    assert bf16_advice(people, is_large, passes, cores) is None


@pytest.mark.parametrize("before", [True, False])
def test_fp32_arithmetic_leaves_no_trace(before: bool) -> None:
    matmul = torch.backends.cuda.matmul
    original = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
        for benchmark in (False, True):
            with suppress(ZeroDivisionError), fp32_arithmetic(tf32=not before, benchmark=benchmark):
                assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is (not before)
                assert torch.backends.cudnn.enabled
                assert torch.backends.cudnn.benchmark is benchmark
                raise ZeroDivisionError
            assert not torch.backends.cudnn.benchmark
            assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is before
    finally:
        matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = original
