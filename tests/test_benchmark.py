"""The command benchmark.py: that it measures what it says, not how fast anything is."""

import json
import re
from pathlib import Path

import pytest
from conftest import fail, succeed

from tools.bench.precision import benchmark_precisions, precision_table
from hpr.cli.app import ASSETS
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.poses import PoseSequence

SAMPLE = ASSETS / "sample"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["what=speed"], "what=speed: expected one of refining, precision, quality, training, feeding, evaluation"),
        (["model=demo", "device=cpu", "refining.crops=[[300,300]]"], "refining.crops: expected widths of 510 to 1600"),
        (["model=demo", "refining.crops=[[600]]"], "refining.crops=[[600]]: expected pairs of width and height"),
        (["model=demo", "refining.people=[0]"], "refining.people=[0]: expected one number or more from 1 up"),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    assert message in fail("tools/benchmark.py", *settings)


def first_frames(folder: Path, count: int) -> tuple[Path, Path]:
    """Writes the beginning of one of the sample's clips and returns its folders."""
    file_format = PoseTrack18()
    for kind in ("predictions", "annotations"):
        (clip,) = file_format.read(sorted((SAMPLE / kind).iterdir())[0])
        beginning = PoseSequence(clip.name, clip.frames[:count])
        file_format.write([beginning], folder / kind / f"{clip.name}.json")
    return folder / "predictions", folder / "annotations"


def test_precisions_are_compared_with_fp32(tmp_path: Path) -> None:
    weights, images = ASSETS / "demo.safetensors", ImageFolder(SAMPLE)
    folders = first_frames(tmp_path, 3)
    exact, low = benchmark_precisions(weights, "cpu", ["fp32", "bf16"], PoseTrack18(), images, *folders)
    assert (exact["precision"], low["precision"]) == ("fp32", "bf16")
    assert exact["mean_shift"] == exact["share_above_a_pixel"] == exact["decisions_changed"] == 0
    assert 0 < low["median_shift"] < 1
    assert low["decisions"] == exact["decisions"] > 0
    assert abs(low["mAP"] - exact["mAP"]) < 5
    assert len(precision_table([exact, low]).split("\n")) == 3


class TestQuality:
    def test_exact_and_hidden_keypoints(self, tmp_path: Path) -> None:
        settings = ("quality.clips=1", "quality.frames=2", "quality.seed=3", "quality.kinds=[exact,hidden]")
        added = "+quality.objectives.all={name: all, keep: 0.0, add: 0.0, score: network, iterations: 2}"
        printed = succeed(
            "tools/benchmark.py", "what=quality", "model=demo", "device=cpu", *settings, added, f"output_dir={tmp_path}"
        )
        result = json.loads((tmp_path / "quality.json").read_text())
        assert list(result) == ["exact", "hidden"]
        assert list(result["exact"]) == ["input", "map", "mota", "rescore", "all"]
        assert [result["exact"]["input"][name] for name in ("mAP", "mAP13", "MOTA", "OKS")] == [100, 100, 100, 100]
        assert result["exact"]["input"]["false"] is None
        assert result["hidden"]["input"]["false"] == result["hidden"]["map"]["false"] == 100
        assert result["hidden"]["mota"]["false"] < 60
        assert result["hidden"]["mota"]["outside"] < result["hidden"]["mota"]["inside"]
        assert "hidden" in printed

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (["quality.kinds=[odd]"], "quality.kinds: expected some of poor, usual, good, exact, .*; found odd"),
            (["model.weights=null"], "model.weights=null: expected a file of weights to refine with"),
        ],
    )
    def test_wrong_settings(self, settings: list[str], message: str) -> None:
        assert re.search(message, fail("tools/benchmark.py", "what=quality", "model=demo", *settings))


@pytest.mark.slow
def test_refining(tmp_path: Path) -> None:
    settings = ("refining.crops=[[510,560]]", "refining.people=[1,3]", "refining.rounds=3", f"output_dir={tmp_path}")
    printed = succeed("tools/benchmark.py", "model=demo", "device=cpu", *settings)
    result = json.loads((tmp_path / "refining.json").read_text())
    (crop,) = result["crops"]
    assert crop["size"] == [510, 560]
    assert set(crop["engine_persons_per_second"]) == {"1", "3"}
    assert all(rate > 0 for rate in crop["engine_persons_per_second"].values())
    assert set(crop["stages_seconds"]) == {"decode", "crop", "collate", "mirror", "network and pose"}
    assert crop["network_gflops"] == pytest.approx(crop["gflop_per_person"] * crop["network_persons_per_second"])
    assert "510x560" in printed
    assert (tmp_path / "refining.png").stat().st_size > 0


@pytest.mark.slow
def test_training(tmp_path: Path) -> None:
    settings = ("training.canvas=[96,64]", "training.batch_size=2", "training.workers=0", "training.steps=3")
    succeed("tools/benchmark.py", "what=training", "model=demo", "device=cpu", *settings, f"output_dir={tmp_path}")
    result = json.loads((tmp_path / "training.json").read_text())
    assert result["seconds_per_step"] > 0
    assert 0 < result["share_of_convolution_peak"] < 2


def test_feeding(tmp_path: Path) -> None:
    settings = ("feeding.canvas=[96,64]", "feeding.frames=2", "feeding.examples=9", f"output_dir={tmp_path}")
    printed = succeed("tools/benchmark.py", "what=feeding", "model=demo", *settings)
    result = json.loads((tmp_path / "feeding.json").read_text())
    assert "cores for 1,000 per second" in printed
    seconds = result["seconds_per_example"]
    assert list(seconds) == ["all", "decode", "turn", "crop", "mistakes", "rest"]
    assert seconds["all"] == pytest.approx(sum(seconds.values()) / 2) == 1 / result["examples_per_second_and_core"]
    assert min(seconds[step] for step in ("decode", "turn", "crop", "mistakes")) > 0


def test_evaluation() -> None:
    printed = succeed(
        "tools/benchmark.py", "what=evaluation", "evaluation.sequences=1", "evaluation.frames=3", "evaluation.people=2"
    )
    assert "1 sequences of 3 frames with 2 people" in printed
