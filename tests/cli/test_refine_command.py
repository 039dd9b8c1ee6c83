"""The command refine.py, end to end on whole files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import COMMAND_SECONDS, GOLDEN, ROOT, fail, succeed, torchrun

from hpr.models import weight_files as weights as weight_files
from hpr.cli.refine import with_data_set
from hpr.formats import PoseTrack18
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PassedThrough, PoseRefiner, RefinedPose
from hpr.runtime.folders import sole_use
from hpr.skeleton import COCO17, POSETRACK15

PREDICTIONS = GOLDEN / "posetrack18" / "predictions"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["flip=false"], ["flip=false"]),
        (["dataset=coco", "dataset.predictions=a"], ["dataset=coco", "dataset.predictions=a"]),
        (["dataset.predictions=a"], ["dataset=auto", "dataset.predictions=a"]),
        (
            ["flip=false", "dataset.predictions=a", "--cfg", "job"],
            ["flip=false", "dataset=auto", "dataset.predictions=a", "--cfg", "job"],
        ),
    ],
)
def test_data_set_of_predictions(words: list[str], expected: list[str]) -> None:
    """Beside the predictions: Hydra takes no settings on both sides of an option."""
    assert with_data_set(words) == expected


def numbers_apart(found: Any, expected: Any, where: str = "") -> list[tuple[str, float]]:
    """Returns the places where numbers differ, and by how much; everything else has to be the same."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        return [pair for key in expected for pair in numbers_apart(found[key], expected[key], f"{where}.{key}")]
    if isinstance(expected, list):
        assert len(found) == len(expected), where
        return [pair for i in range(len(expected)) for pair in numbers_apart(found[i], expected[i], f"{where}[{i}]")]
    if found == expected:
        return []
    assert isinstance(found, float), where
    assert isinstance(expected, float), where
    return [(where, abs(found - expected))]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["mota", "map"])
@pytest.mark.parametrize("dataset", ["posetrack18", "posetrack17"])
def test_golden_files(dataset: str, objective: str, weights: Path, posetrack17_root: Path, tmp_path: Path) -> None:
    output = succeed(
        "refine.py",
        f"dataset={dataset}",
        f"objective={objective}",
        f"dataset.predictions={GOLDEN / dataset / 'predictions'}",
        f"dataset.root={GOLDEN if dataset == 'posetrack18' else posetrack17_root}",
        f"model.weights={weights}",
        "device=cpu",
        f"output_dir={tmp_path}",
    )
    for name in ("seq_a", "seq_b"):
        found = json.loads((tmp_path / "predictions" / f"{name}.json").read_text())
        expected = json.loads((GOLDEN / dataset / f"refined_{objective}" / f"{name}.json").read_text())
        apart = numbers_apart(found, expected)
        assert apart, "not one number differs in its last digit: is the expected file itself being read?"
        assert all(".keypoints[" in where or ".x[0]" in where or ".y[0]" in where for where, _ in apart)
        assert max(distance for _, distance in apart) < 0.005
    report = json.loads((tmp_path / "report.json").read_text())
    joints = {"mota": (78, 16, 23), "map": (94, 0, 26)}[objective]
    assert report["persons"] == {
        "seen": 10,
        "refined": 8,
        "passed_through": 2,
        "reasons": {"no joint to start from": 2},
    }
    assert tuple(report["joints"].values()) == joints
    assert report["frames"] == 5
    assert report["bad_images"] == []
    assert report["seconds"] > 0
    assert report["device"] == "cpu"
    assert report["settings"]["objective"]["name"] == objective
    assert report["sequences"].keys() == {"seq_a", "seq_b"}
    assert "8 of 10 refined, 2: no joint to start from" in output
    assert f"{joints[0]} kept, {joints[1]} dropped, {joints[2]} added" in output


class TestBadInput:
    """Each in one line, and nothing written."""

    def refused(self, tmp_path: Path, weights: Path, *settings: str) -> str:
        output = tmp_path / "output"
        defaults = [
            "dataset=posetrack18",
            f"dataset.predictions={PREDICTIONS}",
            f"dataset.root={GOLDEN}",
            f"model.weights={weights}",
        ]
        message = fail("refine.py", *defaults, "device=cpu", f"output_dir={output}", *settings)
        assert not output.exists()
        return message

    def test_no_such_folder(self, tmp_path: Path, weights: Path) -> None:
        message = self.refused(tmp_path, weights, "dataset.predictions=/no/where")
        assert "/no/where: no such file or folder; expected a folder of .json files" in message

    def test_no_json(self, tmp_path: Path, weights: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.txt").touch()
        message = self.refused(tmp_path, weights, f"dataset.predictions={tmp_path / 'in'}")
        assert "expected .json files in it, found none in 1 entries" in message

    def test_broken_json(self, tmp_path: Path, weights: Path) -> None:
        shutil.copytree(PREDICTIONS, tmp_path / "in")
        (tmp_path / "in" / "seq_c.json").write_text('{"images": [}')
        message = self.refused(tmp_path, weights, f"dataset.predictions={tmp_path / 'in'}")
        assert "seq_c.json: not valid JSON at line 1, column 13" in message

    def test_no_image_at_all(self, tmp_path: Path, weights: Path) -> None:
        message = self.refused(tmp_path, weights, "dataset.root=/no/where")
        assert "/no/where: expected /no/where/images/a_640x480.png and 4 more images, found none" in message

    def test_no_weights(self, tmp_path: Path, weights: Path) -> None:
        message = self.refused(tmp_path, weights, "model.weights=nothing.safetensors")
        assert "nothing.safetensors: no such weights" in message
        assert "python tools/port_tf_weights.py" in message

    def test_truncated_weights(self, tmp_path: Path, weights: Path) -> None:
        (tmp_path / "half.safetensors").write_bytes(weights.read_bytes()[:1_000_000])
        message = self.refused(tmp_path, weights, f"model.weights={tmp_path / 'half.safetensors'}")
        assert "half.safetensors: not a complete safetensors file" in message

    def test_weights_of_another_architecture(self, tmp_path: Path, weights: Path) -> None:
        message = self.refused(tmp_path, weights, "model=resnet50")
        assert "expected weights of resnet50, found resnet101's; use model=resnet101" in message

    def test_foreign_weights(self, tmp_path: Path, weights: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors")
        message = self.refused(tmp_path, weights, f"model.weights={tmp_path / 'a.safetensors'}")
        assert "these weights do not say what they are" in message

    def test_weights_that_do_not_fit(self, tmp_path: Path, weights: Path) -> None:
        tensors, provenance = weight_files.load(weights)
        del tensors["part_head.bias"]
        weight_files.save(tmp_path / "a.safetensors", tensors, provenance)
        message = self.refused(tmp_path, weights, f"model.weights={tmp_path / 'a.safetensors'}")
        assert "1 tensors do not fit the network, first part_head.bias: expected shape (15,), found None" in message

    def test_weights_for_other_keypoints(self, tmp_path: Path, weights: Path) -> None:
        message = self.refused(tmp_path, weights, "model.skeleton=coco17")
        assert "expected weights for the keypoints of coco17, found posetrack15's" in message

    @pytest.mark.parametrize("keypoints", ["", "nose,left_eye", "nose"])
    def test_weights_that_name_other_keypoints_than_their_skeleton_has(
        self, keypoints: str, tmp_path: Path, weights: Path
    ) -> None:
        tensors, provenance = weight_files.load(weights)
        weight_files.save(tmp_path / "a.safetensors", tensors, replace(provenance, keypoints=keypoints))
        message = self.refused(tmp_path, weights, f"model.weights={tmp_path / 'a.safetensors'}")
        assert f"expected the keypoints of posetrack15 in its order, found '{keypoints}'" in message

    def test_predictions_would_be_overwritten(self, tmp_path: Path, weights: Path) -> None:
        shutil.copytree(PREDICTIONS, tmp_path / "predictions")
        before = (tmp_path / "predictions" / "seq_a.json").read_bytes()
        message = fail(
            "refine.py",
            "dataset=posetrack18",
            f"dataset.predictions={tmp_path / 'predictions'}",
            f"dataset.root={GOLDEN}",
            f"model.weights={weights}",
            f"output_dir={tmp_path}",
        )
        assert "these are the predictions to be refined; set another output_dir" in message
        assert (tmp_path / "predictions" / "seq_a.json").read_bytes() == before

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("objective=moat", "objective=moat: there is no such objective; expected one of map, mota, rescore"),
            ("dataset.predictoins=a", "no setting 'dataset.predictoins'; did you mean dataset.predictions?"),
            ("flip=maybe", "flip=maybe: expected true or false"),
            ("flip=null", "flip=null: expected true or false"),
            ("output_dir=5", "output_dir=5: expected a text"),
            ("dataset.root=[a]", "dataset.root=['a']: expected a text"),
            ("model.skeleton=coco71", "unknown skeleton 'coco71': expected one of posetrack15, posetrack18, coco17"),
            ("precision=fp64", "precision=fp64: expected one of auto, fp32, tf32, bf16, fp16"),
            ("device=gpu", "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
            ("objective.keep=70", "objective.keep=70: expected a number below 1"),
            ("objective.add=-0.1", "objective.add=-0.1: expected 0 or more"),
            ("objective.score=both", "objective.score=both: expected one of input, network, product"),
            ("objective.iterations=0", "objective.iterations=0: expected 1 or more"),
            ("iterations=6", "iterations=6: expected 5 or less"),
            ("iterations=1.5", "iterations=1.5: expected a whole number"),
            ("objective.threshold=0.5", "there is no setting 'objective.threshold'"),
            ("predictions", "'predictions': expected NAME=VALUE; --help lists the settings"),
            ("predictions/", "'predictions/': expected NAME=VALUE; --help lists the settings"),
            ("+thresh=1", "there is no setting 'thresh'"),
            ("dataset.predictions=???", "dataset.predictions is not set; add dataset.predictions=VALUE"),
        ],
    )
    def test_wrong_settings(self, setting: str, message: str, tmp_path: Path, weights: Path) -> None:
        assert message in self.refused(tmp_path, weights, setting)


@pytest.mark.slow
def test_a_bad_frame_keeps_its_poses(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images")
    (tmp_path / "images" / "d_97x61.png").write_bytes(b"not a picture")
    prediction = json.loads((PREDICTIONS / "seq_a.json").read_text())
    prediction["images"][1]["file_name"] = "images/d_97x61.png"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "seq_a.json").write_text(json.dumps(prediction))
    output = succeed(
        "refine.py",
        "dataset=posetrack18",
        f"dataset.predictions={tmp_path / 'in'}",
        f"dataset.root={tmp_path}",
        f"model.weights={weights}",
        "objective=map",
        "device=cpu",
        f"output_dir={tmp_path}",
        status=3,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    refined = json.loads((tmp_path / "predictions" / "seq_a.json").read_text())
    expected = json.loads((GOLDEN / "posetrack18" / "refined_map" / "seq_a.json").read_text())
    bad = {image["id"] for image in prediction["images"][:2]}
    for before, after, golden in zip(
        prediction["annotations"], refined["annotations"], expected["annotations"], strict=True
    ):
        if before["image_id"] in bad:
            assert after == before
        else:
            np.testing.assert_allclose(after["keypoints"], golden["keypoints"], rtol=0, atol=0.005)
    lost = sum(annotation["image_id"] in bad for annotation in prediction["annotations"])
    assert report["persons"]["reasons"] == {"image missing or unreadable": lost}
    assert report["persons"]["refined"] == len(prediction["annotations"]) - lost
    missing, unreadable = report["bad_images"]
    assert missing == f"{tmp_path}/images/a_640x480.png: no such image"
    assert unreadable == f"{tmp_path}/images/d_97x61.png: not an image that OpenCV can decode"
    assert f"warning: {missing}; its 2 poses stay as they were" in output


@pytest.mark.slow
def test_scores_before_and_after(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    truth = json.loads((GOLDEN / "posetrack18" / "refined_map" / "seq_b.json").read_text())
    for annotation in truth["annotations"]:  # the refined poses are declared true, so refining has to score full marks
        annotation |= {"bbox_head": [0, 0, 30, 40], "scores": []}
    for i, image in enumerate(truth["images"]):
        image["file_name"] = f"{i}_{image['file_name']}"
    (tmp_path / "truth" / "seq_b.json").write_text(json.dumps(truth))
    output = succeed(
        "refine.py",
        "dataset=posetrack18",
        "objective=map",
        f"dataset.predictions={PREDICTIONS / 'seq_b.json'}",
        f"dataset.annotations={tmp_path / 'truth'}",
        f"dataset.root={GOLDEN}",
        f"model.weights={weights}",
        "device=cpu",
        f"output_dir={tmp_path / 'out'}",
    )
    metrics = json.loads((tmp_path / "out" / "report.json").read_text())["metrics"]
    assert metrics["before"]["mAP"] < 20
    assert metrics["after"]["mAP"] == pytest.approx(100)
    assert metrics["after"]["MOTA"] == pytest.approx(100)
    assert metrics["before"].keys() == metrics["after"].keys()
    assert metrics["after"]["joints"]["AP"]["nose"] == pytest.approx(100)
    assert "difference" in output
    chart = cv2.imread(str(tmp_path / "out" / "metrics.png"))
    assert chart is not None
    assert chart.std() > 10


def test_broken_annotations_stop_before_the_work(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "seq_a.json").write_text("{")
    message = fail(
        "refine.py",
        "dataset=posetrack18",
        f"dataset.predictions={PREDICTIONS}",
        f"dataset.annotations={tmp_path}",
        f"dataset.root={GOLDEN}",
        f"model.weights={weights}",
        f"output_dir={tmp_path / 'out'}",
    )
    assert "seq_a.json: not valid JSON" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ground_truth_with_scores_for_flags(weights: Path, tmp_path: Path) -> None:
    """Some tools write the score into the visibility slot: the joint is there, and 1 is written back."""
    prediction = json.loads((PREDICTIONS / "seq_a.json").read_text())
    prediction["annotations"] = prediction["annotations"][:1]
    keypoints = prediction["annotations"][0]["keypoints"]
    keypoints[2::3] = [0.37 * flag for flag in keypoints[2::3]]
    (tmp_path / "in.json").write_text(json.dumps(prediction))
    succeed(
        "refine.py",
        "dataset=posetrack18",
        f"dataset.predictions={tmp_path / 'in.json'}",
        f"dataset.root={GOLDEN}",
        f"model.weights={weights}",
        "device=cpu",
        f"output_dir={tmp_path / 'out'}",
    )
    (found,) = json.loads((tmp_path / "out" / "predictions" / "in.json").read_text())["annotations"]
    golden = json.loads((GOLDEN / "posetrack18" / "refined_mota" / "seq_a.json").read_text())["annotations"][0]
    np.testing.assert_allclose(found["keypoints"], golden["keypoints"], rtol=0, atol=0.005)
    assert found["scores"] == golden["scores"]


@pytest.mark.slow
class TestSeveralProcesses:
    """Under torchrun, without a GPU."""

    def run(self, output: Path, predictions: Path = PREDICTIONS) -> "subprocess.CompletedProcess[str]":
        settings = ["dataset=posetrack18", f"dataset.predictions={predictions}", f"dataset.root={GOLDEN}"]
        settings += ["model=demo", "device=cpu", "flip=false", f"output_dir={output}"]
        return torchrun("refine.py", *settings)

    def test_sequences_are_shared_and_reported_once(self, tmp_path: Path) -> None:
        result = self.run(tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert (report["processes"], report["failures"]) == (2, [])
        assert report["sequences"].keys() == {"seq_a", "seq_b"}
        assert report["persons"]["seen"] == 10
        assert result.stdout.count("8 of 10 refined") == 1
        assert {path.name for path in (tmp_path / "predictions").iterdir()} == {"seq_a.json", "seq_b.json"}

    def test_a_huge_file_is_shared_by_frames(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        shutil.copy(PREDICTIONS / "seq_a.json", tmp_path / "in")
        result = self.run(tmp_path / "two", tmp_path / "in")
        assert result.returncode == 0, result.stdout + result.stderr
        report = json.loads((tmp_path / "two" / "report.json").read_text())
        assert (report["processes"], report["sequences"].keys()) == (2, {"seq_a"})
        assert report["frames"] == 3
        found, expected = (
            json.loads(path.read_text())["annotations"]
            for path in (
                tmp_path / "two" / "predictions" / "seq_a.json",
                GOLDEN / "posetrack18" / "refined_mota" / "seq_a.json",
            )
        )
        assert [entry["track_id"] for entry in found] == [entry["track_id"] for entry in expected]

    def test_failure_of_one_loses_nothing_of_the_other(self, tmp_path: Path) -> None:
        (tmp_path / "predictions" / "seq_b.json").mkdir(parents=True)  # in the way of the file
        result = self.run(tmp_path)
        assert result.returncode != 0
        assert "not all sequences were refined: process 1: " in result.stderr
        assert "seq_b.json: cannot be written" in result.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["sequences"].keys() == {"seq_a"}
        assert len(report["failures"]) == 1
        assert (tmp_path / "predictions" / "seq_a.json").is_file()

    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_killed_process_leaves_the_others_files_and_a_report(self, rank: int, tmp_path: Path) -> None:
        """On the sample, whose files take a second or more each."""
        settings = ["device=cpu", "flip=false", "margin=100", f"output_dir={tmp_path / 'out'}"]
        line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([*line, str(ROOT / "refine.py"), *settings], stderr=subprocess.PIPE, env=environment)
        deadline = time.monotonic() + COMMAND_SECONDS
        while not list((tmp_path / "out").glob(".journal/clip*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(_process_of_rank(rank, tmp_path), signal.SIGKILL)
        process.communicate(timeout=COMMAND_SECONDS)

        assert process.returncode != 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert len(report["failures"]) == 1
        assert "another process was lost" in report["failures"][0]
        # Killed while it writes, a process leaves a temporary file, which the next run sweeps up.
        for path in (tmp_path / "out" / "predictions").glob("*.json"):
            PoseTrack18().read(path)
        succeed("refine.py", *settings)
        assert len(list((tmp_path / "out" / "predictions").iterdir())) == 4


def _process_of_rank(rank: int, folder: Path) -> int:
    """Returns the process of a rank that writes below a folder."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (path / "environ").read_bytes().split(b"\0")
            if str(folder).encode() in (path / "cmdline").read_bytes() and f"RANK={rank}".encode() in variables:
                return int(path.name)
    raise AssertionError(rank)


@pytest.mark.parametrize("library", ["numpy", "libtorch_cpu"])
def test_ctrl_c_while_libraries_are_loaded(library: str, tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "refine.py"), "device=cpu", f"output_dir={tmp_path / 'out'}"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + COMMAND_SECONDS
    while library not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130
    assert errors == ""


@pytest.mark.slow
def test_only_this_runs_files_are_scored(weights: Path, tmp_path: Path) -> None:
    """A folder that an earlier run has written to holds other files, too."""
    settings = ["dataset=posetrack18", f"dataset.root={GOLDEN}", f"model.weights={weights}", "device=cpu", "flip=false"]
    settings += [f"dataset.annotations={GOLDEN / 'posetrack18' / 'refined_map'}", f"output_dir={tmp_path / 'out'}"]
    truth = tmp_path / "truth"
    truth.mkdir()
    for name in ("seq_a", "seq_b"):
        document = json.loads((GOLDEN / "posetrack18" / "refined_map" / f"{name}.json").read_text())
        document["annotations"] = [entry | {"bbox_head": [0, 0, 30, 40]} for entry in document["annotations"]]
        (truth / f"{name}.json").write_text(json.dumps(document))
    settings.append(f"dataset.annotations={truth}")
    succeed("refine.py", *settings, f"dataset.predictions={PREDICTIONS / 'seq_b.json'}", f"output_dir={tmp_path / 'b'}")
    succeed("refine.py", *settings, f"dataset.predictions={PREDICTIONS}")
    succeed("refine.py", *settings, f"dataset.predictions={PREDICTIONS / 'seq_b.json'}")
    alone, used = (json.loads((tmp_path / run / "report.json").read_text())["metrics"] for run in ("b", "out"))
    assert used == alone


def test_an_image_outside_of_the_root_needs_permission(tmp_path: Path) -> None:
    """On the demo network; a name that leads out of the folder leaves its poses as they were."""
    document = json.loads((PREDICTIONS / "seq_a.json").read_text())
    document["images"] = document["images"][:2]
    first, second = (image["id"] for image in document["images"])
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in (first, second)]
    document["images"][0]["file_name"] = f"../{Path(document['images'][0]['file_name']).name}"
    (tmp_path / "in.json").write_text(json.dumps(document))
    root = tmp_path / "data"
    shutil.copytree(GOLDEN / "images", root / "images")
    shutil.copy(GOLDEN / "images" / "a_640x480.png", tmp_path)

    settings = ["dataset=posetrack18", "model=demo", "device=cpu", f"dataset.predictions={tmp_path / 'in.json'}"]
    settings += [f"dataset.root={root}", f"output_dir={tmp_path / 'out'}"]
    output = succeed("refine.py", *settings, status=3)
    remedy = "if that is meant, add dataset.outside=true"
    assert f"lies outside of {root}; {remedy}; its 2 poses stay as they were" in output
    assert "image missing or unreadable" not in succeed("refine.py", *settings, "dataset.outside=true")


def test_precision_that_the_cpu_does_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hpr.runtime.precision.cpu_has_bf16", lambda: False)
    settings = ["device=cpu", "flip=false", f"output_dir={tmp_path}", "precision=bf16"]
    output = succeed("refine.py", *settings)
    assert output.startswith("warning: precision=bf16: this CPU has no bf16 arithmetic")


class TestScores:
    """On the demo network, of a file of COCO results with two people."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> list[str]:
        (tmp_path / "images").mkdir()
        shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images" / "000000000001.jpg")
        points = np.random.default_rng(0).uniform([100, 100, 0.2], [160, 220, 0.9], (2, 17, 3)).round(3)
        records = [
            {"image_id": 1, "category_id": 1, "keypoints": own.reshape(-1).tolist(), "score": 0.8} for own in points
        ]
        (tmp_path / "in.json").write_text(json.dumps(records))
        files = [f"dataset.predictions={tmp_path / 'in.json'}", f"dataset.images={tmp_path / 'images'}"]
        return ["dataset=coco", "model=demo", "device=cpu", "flip=false", *files, "side_files=true"]

    def test_the_objective_of_data_sets_with_scores(self, settings: list[str], tmp_path: Path) -> None:
        """Scores are products with the network's confidences, which the side files hold."""
        words = ["objective.keep=0.1", "objective.add=0.9", f"output_dir={tmp_path / 'out'}"]
        assert "rescore" not in succeed("refine.py", *settings, *words)
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["settings"]["objective"]["name"] == "rescore"
        side = np.load(tmp_path / "out" / "all_keypoints" / "in.npz")
        confidences = side["scores"][:, :17]
        known = [place for place, name in enumerate(COCO17.names) if name in POSETRACK15]

        before, after = (json.loads((tmp_path / name).read_text()) for name in ("in.json", "out/predictions/in.json"))
        for old, new, own in zip(before, after, confidences, strict=True):
            scores, found = (np.array(record["keypoints"]).reshape(17, 3)[:, 2] for record in (old, new))
            kept = np.isin(np.arange(17), known) & (own > 0.1)
            assert kept.any()
            np.testing.assert_allclose(found[kept], scores[kept] * own[kept])
            assert found[4] == scores[4]  # the right ear, which the network does not know
            assert new["score"] == pytest.approx(0.8 * own[kept].mean())

    def test_published_objectives_leave_scores_alone(self, settings: list[str], tmp_path: Path) -> None:
        succeed("refine.py", *settings, "objective=map", f"output_dir={tmp_path / 'out'}")
        before, after = (json.loads((tmp_path / name).read_text()) for name in ("in.json", "out/predictions/in.json"))
        for old, new in zip(before, after, strict=True):
            assert new["keypoints"] != old["keypoints"]
            assert new["keypoints"][2::3] == old["keypoints"][2::3]
            assert new["score"] == old["score"]

    @pytest.mark.parametrize(("heads", "is_warned"), [([0.4, 0.4], False), ([0.4, 0.6], False), ([0.6, 0.7], True)])
    def test_movement(
        self, heads: list[float], is_warned: bool, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A warning if more than half of the poses move by more than half a head."""

        class Moving(PoseRefiner):
            def refine(self, people: Iterable[PersonCrop | PassedThrough]) -> Iterator[RefinedPose | PassedThrough]:
                for own, far in zip(people, heads, strict=True):
                    assert isinstance(own, PersonCrop)
                    shift = [far * own.crop.head_size, 0]
                    yield RefinedPose(
                        own.key, own.crop.to_image(own.keypoints) + shift, np.ones(15), own.crop.head_size
                    )

        monkeypatch.setattr("hpr.cli.refine.PoseRefiner", Moving)
        printed = succeed("refine.py", *settings, f"output_dir={tmp_path / 'out'}")
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        movement = report["movement"]
        assert movement["poses"] == 2
        assert [movement["median"], movement["p95"]] == pytest.approx(heads, abs=0.011)
        assert movement["above_half_a_head"] == sum(far > 0.5 for far in heads) / 2
        assert report["sequences"]["in"]["movement"] == movement
        assert f"moved    {movement['median']:.2f} head sizes in the median" in printed
        warning = "2 of 2 refined poses moved by more than half a head; these weights may not suit these images"
        assert report["warnings"] == ([warning] if is_warned else [])
        assert (f"warning: {warning}" in printed) == is_warned


class TestFaults:
    """On the demo network, of one clip with a broken file, a missing image or a signal."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> list[str]:
        shutil.copytree(PREDICTIONS, tmp_path / "in")
        shutil.copytree(GOLDEN / "images", tmp_path / "data" / "images")
        folders = [f"dataset.predictions={tmp_path / 'in'}", f"dataset.root={tmp_path / 'data'}"]
        return [
            "dataset=posetrack18",
            "model=demo",
            "device=cpu",
            "flip=false",
            *folders,
            f"output_dir={tmp_path / 'out'}",
        ]

    def test_a_broken_file_is_skipped_if_wanted(self, settings: list[str], tmp_path: Path) -> None:
        (tmp_path / "in" / "seq_c.json").write_text("{")
        fail("refine.py", *settings)
        assert not (tmp_path / "out").exists()
        printed = succeed("refine.py", *settings, "skip_broken=true", status=3)
        assert "seq_c.json: not valid JSON at line 1, column 2" in printed
        assert "not all was refined: 0 poses failed, 1 files were skipped" in printed
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["sequences"].keys() == {"seq_a", "seq_b"}
        assert len(report["broken_files"]) == 1

    def test_nothing_but_broken_files(self, settings: list[str], tmp_path: Path) -> None:
        for path in (tmp_path / "in").iterdir():
            path.write_text("{")
        assert "not one of the files can be read" in fail("refine.py", *settings, "skip_broken=true")

    def test_strict_stops_at_the_first_missing_image(self, settings: list[str], tmp_path: Path) -> None:
        (tmp_path / "data" / "images" / "a_640x480.png").unlink()
        assert "a_640x480.png: no such image" in fail("refine.py", *settings, "strict=true")
        report = tmp_path / "out" / "report.json"
        assert not report.exists()
        succeed("refine.py", *settings, status=3)
        assert json.loads(report.read_text())["failed"] > 0

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_leaves_finished_files_and_a_report(self, number: int, tmp_path: Path) -> None:
        """The sample takes much longer than its first file."""
        line = [sys.executable, str(ROOT / "refine.py"), "device=cpu", "margin=100", f"output_dir={tmp_path / 'out'}"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + COMMAND_SECONDS
        while not list((tmp_path / "out").glob("predictions/clip*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode == 130, printed + errors
        assert errors == ""
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        written = {path.stem for path in (tmp_path / "out" / "predictions").iterdir()}
        assert report["stopped"]
        assert report["sequences"].keys() == written
        assert 1 <= len(written) < 4
        assert f"stopped: {len(written)} sequences are complete" in printed

    def test_the_same_command_goes_on(self, settings: list[str], tmp_path: Path) -> None:
        succeed("refine.py", *settings)
        folder = tmp_path / "out" / "predictions"
        straight = {path.name: path.read_bytes() for path in folder.iterdir()}
        first = json.loads((tmp_path / "out" / "report.json").read_text())
        (folder / "seq_b.json").write_text("{}")  # has to be redone
        assert "1 of 2 files were finished by an earlier run and are skipped" in succeed("refine.py", *settings)

        assert {path.name: path.read_bytes() for path in folder.iterdir()} == straight
        second = json.loads((tmp_path / "out" / "report.json").read_text())
        assert second["skipped_files"] == 1
        assert [second[key] for key in ("persons", "joints", "sequences")] == [
            first[key] for key in ("persons", "joints", "sequences")
        ]

    @pytest.mark.parametrize("change", ["objective=map", "flip=true", "precision=bf16"])
    def test_other_settings_are_refused(self, change: str, settings: list[str], tmp_path: Path) -> None:
        succeed("refine.py", *settings)
        before = (tmp_path / "out" / "predictions" / "seq_a.json").read_bytes()
        message = fail("refine.py", *settings, change)
        assert (
            "seq_a.json was refined with other settings or weights; set another output_dir, or overwrite=true"
            in message
        )
        assert (tmp_path / "out" / "predictions" / "seq_a.json").read_bytes() == before
        assert "skipped" not in succeed("refine.py", *settings, change, "overwrite=true")
        assert (tmp_path / "out" / "predictions" / "seq_a.json").read_bytes() != before

    def test_each_part_of_an_objective_counts(self, settings: list[str]) -> None:
        succeed("refine.py", *settings)
        for change in ("objective.keep=0.6", "objective.add=0.6", "objective.score=product", "iterations=2"):
            assert "was refined with other settings or weights" in fail("refine.py", *settings, change)

    def test_a_changed_input_and_a_missing_image_are_refined_again(self, settings: list[str], tmp_path: Path) -> None:
        succeed("refine.py", *settings)
        path = tmp_path / "in" / "seq_a.json"
        path.write_text(path.read_text() + " ")
        assert "1 of 2 files" in succeed("refine.py", *settings)
        image = tmp_path / "data" / "images" / "a_640x480.png"
        content = image.read_bytes()
        image.unlink()
        succeed("refine.py", *settings, "overwrite=true", status=3)
        image.write_bytes(content)
        assert json.loads((tmp_path / "out" / "report.json").read_text())["failed"] > 0
        succeed("refine.py", *settings)
        assert json.loads((tmp_path / "out" / "report.json").read_text())["failed"] == 0

    @pytest.mark.slow
    def test_killed_runs_end_as_an_undisturbed_one(self, tmp_path: Path) -> None:
        """The sample, killed again and again without warning until it is done."""
        line = [sys.executable, str(ROOT / "refine.py"), "device=cpu", "flip=false", "margin=100"]
        subprocess.run([*line, f"output_dir={tmp_path / 'straight'}"], check=True, capture_output=True)
        kills = 0
        for delay in (0.1, 0.05):
            process = subprocess.Popen([*line, f"output_dir={tmp_path / 'killed'}"], stdout=subprocess.DEVNULL)
            known = len(list((tmp_path / "killed").glob(".journal/*")))
            while process.poll() is None and len(list((tmp_path / "killed").glob(".journal/*"))) <= known:
                time.sleep(0.02)
            time.sleep(delay)
            kills += process.poll() is None
            process.kill()
            process.wait()
        assert kills >= 1
        subprocess.run([*line, f"output_dir={tmp_path / 'killed'}"], check=True, capture_output=True)
        for path in (tmp_path / "straight" / "predictions").iterdir():
            assert (tmp_path / "killed" / "predictions" / path.name).read_bytes() == path.read_bytes()
        assert not list((tmp_path / "killed" / "predictions").glob(".*"))
        straight, killed = (json.loads((tmp_path / run / "report.json").read_text()) for run in ("straight", "killed"))
        assert killed["metrics"] == straight["metrics"]
        assert killed["skipped_files"] >= 1

    def test_predictions_in_the_folder_that_is_written_to(self, settings: list[str], tmp_path: Path) -> None:
        assert "these are the predictions to be refined" in fail(
            "refine.py", *settings, f"output_dir={tmp_path / 'in'}"
        )

    def test_a_folder_in_use(self, settings: list[str], tmp_path: Path) -> None:
        with sole_use(tmp_path / "out"):
            assert "another run is at work in it" in fail("refine.py", *settings)
