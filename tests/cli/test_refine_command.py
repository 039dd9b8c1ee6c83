"""`hpr refine`, end to end on whole files."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DEMO, GOLDEN, GOLDEN_FILES, PREDICTIONS, fail, read_report, succeed

from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import Outcome, RefinedPose
from hpr.skeleton import COCO17, POSETRACK15


def leaves(content: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all numbers, texts and nulls of a JSON document with where they are."""
    if not isinstance(content, dict | list):
        yield where, content
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield from leaves(value, f"{where}.{key}")


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the demo; a test that writes works on a copy."""
    folder = tmp_path_factory.mktemp("refined")
    succeed("refine.py", *GOLDEN_FILES, *DEMO, "objective=map", f"output_dir={folder}")
    return folder


def read_people(path: Path) -> list[dict[str, Any]]:
    people: list[dict[str, Any]] = json.loads(path.read_text())["annotations"]
    return people


def shift_from_golden(folder: Path, dataset: str, objective: str) -> float:
    """Returns by how many pixels refined files differ at most from the golden ones; nothing else may differ."""
    largest = 0.0
    for name in ("seq_a.json", "seq_b.json"):
        paths = (folder / "predictions" / name, GOLDEN / dataset / f"refined_{objective}" / name)
        found, expected = (dict(leaves(json.loads(path.read_text()))) for path in paths)
        assert found.keys() == expected.keys()
        differing = {where: abs(found[where] - expected[where]) for where in found if found[where] != expected[where]}
        assert differing, "not one number differs in its last digit: is the expected file itself being read?"
        assert all(re.search(r"\.keypoints\.\d+$|\.[xy]\.0$", where) for where in differing)
        largest = max(largest, *differing.values())
    return largest


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_golden_files_on_cuda(weights: Path, tmp_path: Path) -> None:
    settings = [f"model.weights={weights}", "device=cuda", "precision=fp32", "objective=mota"]
    succeed("refine.py", *GOLDEN_FILES, *settings, f"output_dir={tmp_path}")
    shift = shift_from_golden(tmp_path, "posetrack18", "mota")
    print(f"golden files: off by at most {shift:.5f} px")
    assert shift < 0.005


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "objective", "keypoints"),
    [("posetrack18", "mota", (78, 16, 23)), ("posetrack17", "map", (94, 0, 26))],
)
def test_golden_files(dataset: str, objective: str, keypoints: tuple[int, ...], weights: Path, tmp_path: Path) -> None:
    root = GOLDEN
    if dataset == "posetrack17":  # has a folder of images for each sequence
        root = tmp_path / "root"
        for sequence in ("seq_a", "seq_b"):
            shutil.copytree(GOLDEN / "images", root / "images" / sequence)
    files = [f"dataset.predictions={GOLDEN / dataset / 'predictions'}", f"dataset.root={root}"]
    settings = [f"objective={objective}", f"model.weights={weights}", "device=cpu", f"output_dir={tmp_path}"]
    output = succeed("refine.py", f"dataset={dataset}", *files, *settings)
    assert shift_from_golden(tmp_path, dataset, objective) < 0.005

    report = read_report(tmp_path)
    reasons = {"no keypoint to start from": 2}
    assert report["persons"] == {"seen": 10, "refined": 8, "passed_through": 2, "reasons": reasons}
    assert tuple(report["joints"].values()) == (*keypoints, 0)
    assert (report["frames"], report["bad_images"], report["device"]) == (5, [], "cpu")
    assert report["sequences"].keys() == {"seq_a", "seq_b"}
    assert "8 of 10 refined, 2: no keypoint to start from" in output
    assert "{} kept, {} dropped, {} added".format(*keypoints) in output


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("txt", "", "expected .json files in it, found none in 2 entries"),
        ("json", '{"images": [}', "seq_a.json: not valid JSON at line 1, column 13"),
    ],
)
@pytest.mark.parametrize("role", ["predictions", "annotations"])
def test_broken_files(role: str, ending: str, content: str, message: str, tmp_path: Path) -> None:
    """Also broken annotations stop the run before the long work."""
    (tmp_path / "in").mkdir()
    for broken in ("seq_a", "seq_b"):
        (tmp_path / "in" / f"{broken}.{ending}").write_text(content)
    settings = [*GOLDEN_FILES, *DEMO, f"dataset.{role}={tmp_path / 'in'}", f"output_dir={tmp_path / 'out'}"]
    assert message in fail("refine.py", *settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["", "predictions"])
def test_predictions_are_not_overwritten(output: str, tmp_path: Path) -> None:
    shutil.copytree(PREDICTIONS, tmp_path / "predictions")
    before = (tmp_path / "predictions" / "seq_a.json").read_bytes()
    settings = [*GOLDEN_FILES, *DEMO, f"dataset.predictions={tmp_path / 'predictions'}"]
    message = fail("refine.py", *settings, f"output_dir={tmp_path / output}")
    assert "these are the predictions to be refined; set another output_dir" in message
    assert (tmp_path / "predictions" / "seq_a.json").read_bytes() == before


def test_a_bad_frame_keeps_its_poses(refined: Path, tmp_path: Path) -> None:
    """One image lies outside of the root, which needs permission; one is unreadable."""
    root = tmp_path / "data"
    shutil.copytree(GOLDEN / "images", root / "images")
    shutil.copy(GOLDEN / "images" / "a_640x480.png", tmp_path)
    (root / "images" / "bad.png").write_bytes(b"not a picture")
    prediction = json.loads((PREDICTIONS / "seq_a.json").read_text())
    for image, name in zip(prediction["images"], ("../a_640x480.png", "images/bad.png"), strict=False):
        image["file_name"] = name
    (tmp_path / "seq_a.json").write_text(json.dumps(prediction))
    files = [f"dataset.predictions={tmp_path / 'seq_a.json'}", f"dataset.root={root}"]
    settings = [*GOLDEN_FILES, *DEMO, *files, "objective=map", f"output_dir={tmp_path / 'out'}"]
    output = succeed("refine.py", *settings, status=3)

    bad = {image["id"] for image in prediction["images"][:2]}
    found, expected = (read_people(folder / "predictions" / "seq_a.json") for folder in (tmp_path / "out", refined))
    for before, after, undisturbed in zip(prediction["annotations"], found, expected, strict=True):
        same = before if before["image_id"] in bad else undisturbed
        np.testing.assert_allclose(after["keypoints"], same["keypoints"], atol=1e-3)

    report = read_report(tmp_path / "out")
    num_lost = sum(person["image_id"] in bad for person in found)
    assert report["persons"]["reasons"] == {"image missing or unreadable": num_lost}
    assert report["persons"]["refined"] == len(found) - num_lost
    outside, unreadable = report["bad_images"]
    assert f"lies outside of {root}; if that is meant, add outside=true" in outside
    assert unreadable == f"{root}/images/bad.png: not an image that OpenCV can decode"
    assert f"warning: {outside}; 2 poses of it unchanged" in output
    succeed("refine.py", *settings, "dataset.outside=true", status=3)
    assert read_report(tmp_path / "out")["bad_images"] == [unreadable]


def test_scores_before_and_after(refined: Path, tmp_path: Path) -> None:
    """Where refined poses are declared true, refining scores full marks; other files in its folder do not count."""
    (tmp_path / "truth").mkdir()
    for name in ("seq_a.json", "seq_b.json"):
        truth = json.loads((refined / "predictions" / name).read_text())
        for person in truth["annotations"]:
            person |= {"bbox_head": [0, 0, 30, 40], "scores": []}
            if name == "seq_a.json":
                person["keypoints"] = [0] * 45
        (tmp_path / "truth" / name).write_text(json.dumps(truth))
    shutil.copytree(refined, tmp_path / "out")
    files = [f"dataset.predictions={PREDICTIONS / 'seq_b.json'}", f"dataset.annotations={tmp_path / 'truth'}"]
    output = succeed("refine.py", *GOLDEN_FILES, *DEMO, *files, "objective=map", f"output_dir={tmp_path / 'out'}")

    metrics = read_report(tmp_path / "out")["metrics"]
    assert metrics["before"]["mAP"] < 90
    assert metrics["after"]["mAP"] == metrics["after"]["MOTA"] == pytest.approx(100)
    assert metrics["before"].keys() == metrics["after"].keys()
    assert metrics["after"]["joints"]["AP"]["nose"] == pytest.approx(100)
    assert "difference" in output


def test_precision_that_the_cpu_does_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hpr.runtime.precision.cpu_has_bf16", lambda: False)
    one = f"dataset.predictions={PREDICTIONS / 'seq_b.json'}"
    output = succeed("refine.py", *GOLDEN_FILES, *DEMO, one, f"output_dir={tmp_path}", "precision=bf16")
    assert "\nwarning: precision=bf16: this CPU has no bf16 arithmetic" in output


@pytest.mark.parametrize(("precision", "is_advised"), [("auto", True), ("fp32", False)])
def test_advice_before_a_long_run(
    precision: str, is_advised: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpr.runtime.precision.cpu_has_amx", lambda: True)
    monkeypatch.setattr("hpr.runtime.precision._LONG_RUN", 0.0)
    one = f"dataset.predictions={PREDICTIONS / 'seq_b.json'}"
    output = succeed(
        "refine.py", *GOLDEN_FILES, *DEMO, one, f"output_dir={tmp_path}", f"precision={precision}", "device=cpu"
    )
    advice = "minutes in fp32; precision=bf16 is twice as fast here"
    assert output.partition("sequence ")[0].count(advice) == is_advised
    assert output.count(advice) == is_advised


class TestScores:
    """Of the results: on COCO results of two people."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> list[str]:
        (tmp_path / "images").mkdir()
        shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images" / "000000000001.jpg")
        points = np.random.default_rng(0).uniform([100, 100, 0.2], [160, 220, 0.9], (2, 17, 3)).round(3)
        people = [{"image_id": 1, "category_id": 1, "keypoints": own.ravel().tolist(), "score": 0.8} for own in points]
        (tmp_path / "in.json").write_text(json.dumps(people))
        files = [f"dataset.predictions={tmp_path / 'in.json'}", f"dataset.images={tmp_path / 'images'}"]
        return ["dataset=coco", *DEMO, *files, "side_files=true", f"output_dir={tmp_path / 'out'}"]

    def read(self, folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yields each person before and after."""
        before, after = (json.loads((folder / name).read_text()) for name in ("in.json", "out/predictions/in.json"))
        yield from zip(before, after, strict=True)

    def test_products_with_the_confidence(self, settings: list[str], tmp_path: Path) -> None:
        """The objective of formats with scores; the side files hold the network's confidences."""
        assert "rescore" not in succeed("refine.py", *settings, "objective.keep=0.1", "objective.add=0.9")
        assert read_report(tmp_path / "out")["settings"]["objective"]["name"] == "rescore"
        confidences = np.load(tmp_path / "out" / "all_keypoints" / "in.npz")["scores"][:, :17]
        is_known = np.array([name in POSETRACK15 for name in COCO17.names])

        for (old, new), own in zip(self.read(tmp_path), confidences, strict=True):
            scores, found = (np.array(person["keypoints"]).reshape(17, 3)[:, 2] for person in (old, new))
            is_kept = is_known & (own > 0.1)
            assert is_kept.any()
            np.testing.assert_allclose(found[is_kept], scores[is_kept] * own[is_kept])
            assert found[4] == scores[4]  # the right ear, which the network does not know
            assert new["score"] == pytest.approx(0.8 * own[is_kept].mean())

    def test_published_objectives_leave_scores_unchanged(self, settings: list[str], tmp_path: Path) -> None:
        succeed("refine.py", *settings, "objective=map")
        for old, new in self.read(tmp_path):
            assert new["keypoints"] != old["keypoints"]
            assert new["keypoints"][2::3] == old["keypoints"][2::3]
            assert new["score"] == old["score"]
        side = np.load(tmp_path / "out" / "all_keypoints" / "in.npz")
        assert np.isfinite(side["keypoints"][:, 17:]).all(), "those that COCO does not have"
        assert ((side["scores"][:, 17:] > 0) & (side["scores"][:, 17:] <= 1)).all()

    @pytest.mark.parametrize(("heads", "is_warned"), [([0.4, 0.6], False), ([0.6, 0.7], True)])
    def test_movement(
        self, heads: list[float], is_warned: bool, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A warning if more than half of the poses move by more than half a head."""

        def refine_crops(refiner: PoseRefiner, people: Iterable[PersonCrop]) -> Iterator[RefinedPose]:
            for own, moved in zip(people, heads, strict=True):
                keypoints = own.crop.to_image(own.keypoints)
                yield replace(RefinedPose(own.key, Outcome.REFINED, "", keypoints, np.ones(15)), moved=moved)

        monkeypatch.setattr(PoseRefiner, "refine_crops", refine_crops)
        printed = succeed("refine.py", *settings)
        report = read_report(tmp_path / "out")
        movement = report["movement"]
        assert [movement["median"], movement["p95"]] == pytest.approx(heads, abs=0.011)
        assert f"moved      {movement['median']:.2f} head sizes in the median" in printed
        cause = "either the estimates are rough, or the weights do not suit the images"
        warning = f"2 of 2 refined poses moved by more than half a head: {cause}; look at the people in report.html"
        assert [own for own in report["warnings"] if "limbs" not in own] == ([warning] if is_warned else [])
        assert (f"warning: {warning}" in printed) == is_warned
