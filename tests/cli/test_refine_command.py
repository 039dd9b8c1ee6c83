"""`hpr refine`, end to end on whole files."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, fail, succeed

from hpr.cli.refine import complete_overrides
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import Outcome, RefinedPose
from hpr.skeleton import COCO17, POSETRACK15

PREDICTIONS = GOLDEN / "posetrack18" / "predictions"
DEMO = ["model=demo", "device=cpu", "flip=false"]
POSETRACK = ["dataset=posetrack18", f"dataset.predictions={PREDICTIONS}", f"dataset.root={GOLDEN}"]


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ([], []),
        (["flip=false"], []),
        (["dataset=coco", "dataset.predictions=a"], []),
        (["dataset.predictions=a", "flip=false"], ["dataset=auto"]),
    ],
)
def test_data_set_of_predictions(words: list[str], added: list[str]) -> None:
    assert complete_overrides(words) == words + added


def differing_numbers(found: Any, expected: Any, where: str = "") -> list[tuple[str, float]]:
    """Returns where numbers differ, and by how much; everything else has to be the same."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        return [pair for key in expected for pair in differing_numbers(found[key], expected[key], f"{where}.{key}")]
    if isinstance(expected, list):
        assert len(found) == len(expected), where
        both = enumerate(zip(found, expected, strict=True))
        return [pair for index, own in both for pair in differing_numbers(*own, f"{where}[{index}]")]
    if found == expected:
        return []
    assert isinstance(found, float), where
    assert isinstance(expected, float), where
    return [(where, abs(found - expected))]


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "keypoints"), [("mota", (78, 16, 23)), ("map", (94, 0, 26))])
@pytest.mark.parametrize("dataset", ["posetrack18", "posetrack17"])
def test_golden_files(
    dataset: str, objective: str, keypoints: tuple[int, ...], weights: Path, posetrack17_root: Path, tmp_path: Path
) -> None:
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
    for name in ("seq_a.json", "seq_b.json"):
        found = json.loads((tmp_path / "predictions" / name).read_text())
        expected = json.loads((GOLDEN / dataset / f"refined_{objective}" / name).read_text())
        differing = differing_numbers(found, expected)
        assert differing, "not one number differs in its last digit: is the expected file itself being read?"
        assert all(".keypoints[" in where or ".x[0]" in where or ".y[0]" in where for where, _ in differing)
        assert max(distance for _, distance in differing) < 0.005

    report = read_report(tmp_path)
    reasons = {"no keypoint to start from": 2}
    assert report["persons"] == {"seen": 10, "refined": 8, "passed_through": 2, "reasons": reasons}
    assert tuple(report["joints"].values()) == keypoints
    assert (report["frames"], report["bad_images"], report["device"]) == (5, [], "cpu")
    assert report["seconds"] > 0
    assert report["settings"]["objective"]["name"] == objective
    assert report["sequences"].keys() == {"seq_a", "seq_b"}
    assert "8 of 10 refined, 2: no keypoint to start from" in output
    assert "{} kept, {} dropped, {} added".format(*keypoints) in output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dataset.predictions=/no/where", "/no/where: no such file or folder; expected a folder of .json files"),
        ("dataset.root=/no/where", "expected /no/where/images/a_640x480.png and 4 more images, found none"),
        ("model.weights=nothing.safetensors", "nothing.safetensors: no such weights"),
        ("model.architecture=resnet50", "expected weights of resnet50, found demo's; use model=demo"),
        ("model.skeleton=coco17", "expected weights for the keypoints of coco17, found posetrack15's"),
        ("model.skeleton=coco71", "unknown skeleton 'coco71': expected one of posetrack15, posetrack18, coco17"),
        ("objective=moat", "objective=moat: there is no such objective; expected one of map, mota, rescore"),
        ("dataset.predictoins=a", "no setting 'dataset.predictoins'; did you mean dataset.predictions?"),
        ("flip=maybe", "flip=maybe: expected a valid boolean"),
        ("flip=null", "flip=null: expected a valid boolean"),
        ("output_dir=5", "output_dir=5: expected a valid string"),
        ("dataset.root=[a]", "dataset.root=['a']: expected a valid string"),
        ("precision=fp64", "precision=fp64: expected 'auto', 'fp32', 'tf32', 'bf16' or 'fp16'"),
        ("device=gpu", "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
        ("objective.keep=70", "objective.keep=70: expected less than 1"),
        ("objective.add=-0.1", "objective.add=-0.1: expected greater than or equal to 0"),
        ("objective.score=both", "objective.score=both: expected 'input', 'network' or 'product'"),
        ("iterations=6", "iterations=6: expected less than or equal to 5"),
        ("iterations=1.5", "iterations=1.5: expected a valid integer"),
        ("objective.threshold=0.5", "there is no setting 'objective.threshold'"),
        ("predictions/", "'predictions/': expected NAME=VALUE; --help lists the settings"),
        ("+thresh=1", "there is no setting 'thresh'"),
        ("dataset.predictions=???", "dataset.predictions is not set; add dataset.predictions=VALUE"),
    ],
)
def test_wrong_settings(setting: str, message: str, tmp_path: Path) -> None:
    """One line, and nothing is written."""
    settings = [*POSETRACK, *DEMO, *([] if "output_dir" in setting else [f"output_dir={tmp_path / 'out'}"]), setting]
    assert message in fail("refine.py", *settings, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "expected .json files in it, found none in 1 entries"),
        ("a.json", '{"images": [}', "a.json: not valid JSON at line 1, column 13"),
    ],
)
@pytest.mark.parametrize("role", ["predictions", "annotations"])
def test_broken_files(role: str, name: str, content: str, message: str, tmp_path: Path) -> None:
    """Also broken annotations stop the run before the long work."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(content)
    for path in PREDICTIONS.iterdir() if name.endswith(".json") else ():
        (tmp_path / "in" / path.name).write_text(content)
    settings = [*POSETRACK, *DEMO, f"dataset.{role}={tmp_path / 'in'}", f"output_dir={tmp_path / 'out'}"]
    expected = message if role == "predictions" else message.replace("a.json", "seq_a.json")
    assert expected in fail("refine.py", *settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["", "predictions"])
def test_predictions_are_not_overwritten(output: str, tmp_path: Path) -> None:
    shutil.copytree(PREDICTIONS, tmp_path / "predictions")
    before = (tmp_path / "predictions" / "seq_a.json").read_bytes()
    settings = [*POSETRACK, *DEMO, f"dataset.predictions={tmp_path / 'predictions'}"]
    message = fail("refine.py", *settings, f"output_dir={tmp_path / output}")
    assert "these are the predictions to be refined; set another output_dir" in message
    assert (tmp_path / "predictions" / "seq_a.json").read_bytes() == before


@pytest.mark.slow
def test_a_bad_frame_keeps_its_poses(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images")
    (tmp_path / "images" / "d_97x61.png").write_bytes(b"not a picture")
    prediction = json.loads((PREDICTIONS / "seq_a.json").read_text())
    prediction["images"][1]["file_name"] = "images/d_97x61.png"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "seq_a.json").write_text(json.dumps(prediction))
    files = [f"dataset.predictions={tmp_path / 'in'}", f"dataset.root={tmp_path}", f"model.weights={weights}"]
    settings = ["dataset=posetrack18", *files, "objective=map", "device=cpu", f"output_dir={tmp_path}"]
    output = succeed("refine.py", *settings, status=3)

    refined = json.loads((tmp_path / "predictions" / "seq_a.json").read_text())
    expected = json.loads((GOLDEN / "posetrack18" / "refined_map" / "seq_a.json").read_text())
    bad = {image["id"] for image in prediction["images"][:2]}
    people = zip(prediction["annotations"], refined["annotations"], expected["annotations"], strict=True)
    for before, after, golden in people:
        if before["image_id"] in bad:
            assert after == before
        else:
            np.testing.assert_allclose(after["keypoints"], golden["keypoints"], rtol=0, atol=0.005)

    report = read_report(tmp_path)
    num_lost = sum(annotation["image_id"] in bad for annotation in prediction["annotations"])
    assert report["persons"]["reasons"] == {"image missing or unreadable": num_lost}
    assert report["persons"]["refined"] == len(prediction["annotations"]) - num_lost
    missing, unreadable = report["bad_images"]
    assert missing == f"{tmp_path}/images/a_640x480.png: no such image"
    assert unreadable == f"{tmp_path}/images/d_97x61.png: not an image that OpenCV can decode"
    assert f"warning: {missing}; its 2 poses stay unchanged" in output


@pytest.mark.slow
def test_scores_before_and_after(weights: Path, tmp_path: Path) -> None:
    """Where the refined poses are declared true, refining has to score full marks."""
    (tmp_path / "truth").mkdir()
    truth = json.loads((GOLDEN / "posetrack18" / "refined_map" / "seq_b.json").read_text())
    for annotation in truth["annotations"]:
        annotation |= {"bbox_head": [0, 0, 30, 40], "scores": []}
    for index, image in enumerate(truth["images"]):
        image["file_name"] = f"{index}_{image['file_name']}"
    (tmp_path / "truth" / "seq_b.json").write_text(json.dumps(truth))
    files = [f"dataset.predictions={PREDICTIONS / 'seq_b.json'}", f"dataset.annotations={tmp_path / 'truth'}"]
    settings = ["dataset=posetrack18", *files, f"dataset.root={GOLDEN}", f"model.weights={weights}"]
    output = succeed("refine.py", *settings, "objective=map", "device=cpu", f"output_dir={tmp_path / 'out'}")

    metrics = read_report(tmp_path / "out")["metrics"]
    assert metrics["before"]["mAP"] < 20
    assert metrics["after"]["mAP"] == metrics["after"]["MOTA"] == pytest.approx(100)
    assert metrics["before"].keys() == metrics["after"].keys()
    assert metrics["after"]["joints"]["AP"]["nose"] == pytest.approx(100)
    assert "difference" in output


def test_only_this_runs_files_are_scored(tmp_path: Path) -> None:
    """Although the folder of an earlier run holds others."""
    truth = tmp_path / "truth"
    truth.mkdir()
    for name in ("seq_a.json", "seq_b.json"):
        document = json.loads((GOLDEN / "posetrack18" / "refined_map" / name).read_text())
        document["annotations"] = [entry | {"bbox_head": [0, 0, 30, 40]} for entry in document["annotations"]]
        (truth / name).write_text(json.dumps(document))
    settings = [*POSETRACK, *DEMO, f"dataset.annotations={truth}"]
    one = f"dataset.predictions={PREDICTIONS / 'seq_b.json'}"
    succeed("refine.py", *settings, one, f"output_dir={tmp_path / 'alone'}")
    succeed("refine.py", *settings, f"output_dir={tmp_path / 'used'}")
    succeed("refine.py", *settings, one, f"output_dir={tmp_path / 'used'}")
    assert read_report(tmp_path / "used")["metrics"] == read_report(tmp_path / "alone")["metrics"]


@pytest.mark.slow
def test_predictions_with_scores_for_visibilities(weights: Path, tmp_path: Path) -> None:
    """Some tools write the score there: the keypoint is present, and 1 is written back."""
    prediction = json.loads((PREDICTIONS / "seq_a.json").read_text())
    prediction["annotations"] = prediction["annotations"][:1]
    keypoints = prediction["annotations"][0]["keypoints"]
    keypoints[2::3] = [0.37 * flag for flag in keypoints[2::3]]
    (tmp_path / "in.json").write_text(json.dumps(prediction))
    files = [f"dataset.predictions={tmp_path / 'in.json'}", f"model.weights={weights}"]
    succeed("refine.py", *POSETRACK, *files, "device=cpu", f"output_dir={tmp_path / 'out'}")

    (found,) = json.loads((tmp_path / "out" / "predictions" / "in.json").read_text())["annotations"]
    golden = json.loads((GOLDEN / "posetrack18" / "refined_mota" / "seq_a.json").read_text())["annotations"][0]
    np.testing.assert_allclose(found["keypoints"], golden["keypoints"], rtol=0, atol=0.005)
    assert found["scores"] == golden["scores"]


def test_an_image_outside_of_the_root_needs_permission(tmp_path: Path) -> None:
    document = json.loads((PREDICTIONS / "seq_a.json").read_text())
    document["images"] = document["images"][:2]
    first, second = (image["id"] for image in document["images"])
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in (first, second)]
    document["images"][0]["file_name"] = f"../{Path(document['images'][0]['file_name']).name}"
    (tmp_path / "in.json").write_text(json.dumps(document))
    root = tmp_path / "data"
    shutil.copytree(GOLDEN / "images", root / "images")
    shutil.copy(GOLDEN / "images" / "a_640x480.png", tmp_path)

    settings = [*POSETRACK, *DEMO, f"dataset.predictions={tmp_path / 'in.json'}", f"dataset.root={root}"]
    settings.append(f"output_dir={tmp_path / 'out'}")
    output = succeed("refine.py", *settings, status=3)
    remedy = "if that is meant, add dataset.outside=true"
    assert f"lies outside of {root}; {remedy}; its 2 poses stay unchanged" in output
    assert "image missing or unreadable" not in succeed("refine.py", *settings, "dataset.outside=true")


def test_precision_that_the_cpu_does_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hpr.runtime.precision.cpu_has_bf16", lambda: False)
    output = succeed("refine.py", *POSETRACK, *DEMO, f"output_dir={tmp_path}", "precision=bf16")
    assert output.startswith("warning: precision=bf16: this CPU has no bf16 arithmetic")


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

    @pytest.mark.parametrize(("heads", "is_warned"), [([0.4, 0.4], False), ([0.4, 0.6], False), ([0.6, 0.7], True)])
    def test_movement(
        self, heads: list[float], is_warned: bool, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A warning if more than half of the poses move by more than half a head."""

        class Moving(PoseRefiner):
            def refine_crops(self, people: Iterable[PersonCrop | RefinedPose]) -> Iterator[RefinedPose]:
                for own, moved in zip(people, heads, strict=True):
                    assert isinstance(own, PersonCrop)
                    keypoints = own.crop.to_image(own.keypoints)
                    result = RefinedPose(own.key, Outcome.REFINED, "", keypoints, np.ones(15))
                    yield replace(result, moved=moved)

        monkeypatch.setattr("hpr.cli.refine.PoseRefiner", Moving)
        printed = succeed("refine.py", *settings)
        report = read_report(tmp_path / "out")
        movement = report["movement"]
        assert movement["poses"] == 2
        assert [movement["median"], movement["p95"]] == pytest.approx(heads, abs=0.011)
        assert movement["above_half_a_head"] == sum(moved > 0.5 for moved in heads) / 2
        assert report["sequences"]["in"]["movement"] == movement
        assert f"moved      {movement['median']:.2f} head sizes in the median" in printed
        warning = "2 of 2 refined poses moved by more than half a head; these weights may not suit these images"
        assert report["warnings"] == ([warning] if is_warned else [])
        assert (f"warning: {warning}" in printed) == is_warned
