"""tools/benchmark.py: that it measures what it says, not how fast anything is."""

import json
from pathlib import Path

import pytest
import torch
from conftest import fail, succeed

from tools.bench import refining
from tools.bench.cpu import describe_cpu
from tools.benchmark import COMMAND


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures each step three times instead of for three seconds."""
    monkeypatch.setattr(refining, "_repeat", lambda seconds, least, most: range(least))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["what=speed"], "what=speed: expected 'refining', 'profile', 'photo', 'training', 'quality' or 'files'"),
        (["model=demo", "device=cpu", "refining.crops=[[300,300]]"], "refining.crops: expected widths of 510 to 1600"),
        (["model=demo", "refining.crops=[[600]]"], "refining.crops=[[600]]: expected pairs of width and height"),
        (["model=demo", "refining.people=[0]"], "refining.people=[0]: expected one number or more from 1 up"),
        (["what=quality", "model=demo", "quality.kinds=[odd]"], "quality.kinds: expected some of poor, usual, good"),
        (["what=quality", "model=demo", "model.weights=null"], "model.weights=null: expected a file of weights"),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    assert message in fail(COMMAND, *settings)


def test_refining(tmp_path: Path) -> None:
    settings = ("refining.crops=[[510,560]]", "refining.people=[1]", "refining.rounds=1", f"output_dir={tmp_path}")
    printed = succeed(COMMAND, "model=demo", "device=cpu", *settings)
    (crop,) = json.loads((tmp_path / "refining.json").read_text())["crops"]
    assert crop["size"] == [510, 560]
    assert crop["engine_people_per_second"]["1"] > 0
    assert set(crop["stages_seconds"]) == {"decode", "crop", "collate", "network and pose"}
    assert crop["network_gflops"] == pytest.approx(crop["gflop_per_person"] * crop["network_people_per_second"])
    assert "510x560" in printed


def test_profile(tmp_path: Path) -> None:
    settings = ("refining.crops=[[510,560]]", "refining.people=[1,2]", "refining.rounds=2", f"output_dir={tmp_path}")
    printed = succeed(COMMAND, "what=profile", "model=demo", "device=cpu", *settings)
    result = json.loads((tmp_path / "profile.json").read_text())
    times = {name: milliseconds for name, milliseconds, _ in result["kernels"]}
    assert (result["frames"], result["people"]) == (1, 2)
    assert 0 < times["mkldnn::_convolution_pointwise"] < result["milliseconds"]
    assert "mkldnn::_convolution_pointwise" in printed


def test_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda forward: forward)  # takes a minute
    settings = ("photo.frames=2", "photo.people=3", "photo.rounds=1", "photo.flip=false", f"output_dir={tmp_path}")
    printed = succeed(COMMAND, "what=photo", "device=cpu", *settings)
    result = json.loads((tmp_path / "photo.json").read_text())
    assert list(result) == ["cpu", "PyTorch", "torch.compile", "ONNX Runtime"]
    names = {"network", "photographs", "video", "photographs: time over network's", "seconds to prepare"}
    for runtime in list(result)[1:]:
        assert names <= result[runtime].keys()
        assert all(value > 0 for value in result[runtime].values())
        assert runtime in printed


def test_training(tmp_path: Path) -> None:
    settings = ("training.canvas=[96,64]", "training.batch_size=2", "training.num_workers=0", "training.steps=2")
    succeed(COMMAND, "what=training", "model=demo", "device=cpu", *settings, f"output_dir={tmp_path}")
    result = json.loads((tmp_path / "training.json").read_text())
    assert result["seconds_per_step"] > 0
    assert 0 < result["share_of_convolution_peak"] < 2


def test_quality_of_exact_and_hidden_keypoints(tmp_path: Path) -> None:
    settings = ("quality.clips=1", "quality.frames=2", "quality.seed=3", "quality.kinds=[exact,hidden]")
    printed = succeed(COMMAND, "what=quality", "model=demo", "device=cpu", *settings, f"output_dir={tmp_path}")
    result = json.loads((tmp_path / "quality.json").read_text())
    assert list(result) == ["cpu", "exact", "hidden"]
    assert list(result["exact"]) == ["input", "map", "mota", "rescore"]
    assert [result["exact"]["input"][name] for name in ("mAP", "mAP13", "MOTA", "OKS")] == [100, 100, 100, 100]
    assert result["exact"]["input"]["false"] is None
    assert result["hidden"]["input"]["false"] == result["hidden"]["map"]["false"] == 100
    assert result["hidden"]["mota"]["false"] < 60
    assert result["hidden"]["mota"]["outside"] < result["hidden"]["mota"]["inside"]
    assert "hidden" in printed


def test_files(tmp_path: Path) -> None:
    printed = succeed(COMMAND, "what=files", "files.people=300", "files.images=40", f"output_dir={tmp_path}")
    result = json.loads((tmp_path / "files.json").read_text())
    for kind in ("annotations", "results"):
        assert result[kind]["people"] == 300
        assert result[kind]["read_seconds"] > 0
        assert result[kind]["write_seconds"] > 0
        assert 0.01 < result[kind]["peak_memory_gb"] < 2
        assert kind in printed
    assert printed.startswith(f"CPU: {describe_cpu()}")
    assert result["cpu"] == describe_cpu()


def test_describe_cpu(tmp_path: Path) -> None:
    kind = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
    (tmp_path / "cpuinfo").write_text(f"{kind}\n{kind}")
    described = describe_cpu(tmp_path / "cpuinfo")
    assert described.startswith("Some CPU, ")
    assert "; AVX2, AVX-512, AVX-512 bf16, AMX bf16; " in described
    assert described.endswith(f"PyTorch uses {torch.backends.cpu.get_cpu_capability()}")
    assert "instruction sets unknown" in describe_cpu(tmp_path / "absent")
