"""Scores by object keypoint similarity: those of pycocotools, run on the same file."""

import copy
import io
import json
import math
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from hpr.errors import UserError
from hpr.metrics.oks import OksComparison, OksScores, evaluate
from hpr.formats.coco import Coco, CrowdPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26

FILES = GOLDEN / "formats"
COCO_TRUTH, CROWDPOSE_TRUTH = FILES / "coco" / "annotations.json", FILES / "crowdpose" / "annotations.json"
REAL = {
    "coco": Path("/work/shared/real/coco/person_keypoints.json"),
    "crowdpose": Path("/work/shared/real/crowdpose/crowdpose.json"),
}
needs_real_files = pytest.mark.skipif(not REAL["coco"].is_file(), reason="needs the real files")


def direct(
    truth: dict[str, Any], results: list[dict[str, Any]], crowdpose: bool = False, images: list[int] | None = None
) -> dict[str, float]:
    """Scores by pycocotools alone, as its documentation says."""
    truth = copy.deepcopy(truth)
    if crowdpose:  # as CrowdPose's own tool measures areas
        for annotation in truth["annotations"]:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3] * 0.53
    coco = COCO()
    coco.dataset = truth
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.params.catIds = [1]
        evaluation.params.imgIds = evaluation.params.imgIds if images is None else images
        if crowdpose:
            ten_times = [0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]
            evaluation.params.kpt_oks_sigmas = np.array(ten_times) / 10
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "APM", "APL", "AR")
    pairs = zip(names, evaluation.stats[:6], strict=True)
    return {name: math.nan if value == -1 else 100 * float(value) for name, value in pairs}


def direct_crowdpose(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    scores = direct(truth, results, crowdpose=True)
    levels: dict[str, list[int]] = {"easy": [], "medium": [], "hard": []}
    for image in truth["images"]:
        index = image["crowdIndex"]
        levels["easy" if index < 0.1 else "hard" if index > 0.8 else "medium"].append(image["id"])
    for name, images in levels.items():
        scores[name] = direct(truth, results, crowdpose=True, images=images)["AP"]
    return {name: scores[name] for name in ("AP", "AP50", "AP75", "easy", "medium", "hard", "AR")}


def assert_equal(found: OksScores, expected: dict[str, float]) -> None:
    assert list(found.values) == ["OKS"]
    assert tuple(found.values["OKS"]) == found.columns == tuple(expected)
    assert found.values["OKS"] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def noisy(truth: dict[str, Any], seed: int, boxes: bool, ties: bool) -> list[dict[str, Any]]:
    """Results near the truth, some far away, with keypoints missing and in an order of their own."""
    random = np.random.default_rng(seed)
    results = []
    for annotation in [*truth["annotations"], *truth["annotations"]]:
        if annotation["category_id"] != 1 or random.random() < 0.2:
            continue
        triples = np.array(annotation["keypoints"], float).reshape(-1, 3)
        triples[:, :2] += random.normal(0, random.choice([1, 4, 20]), (len(triples), 2))
        triples[random.random(len(triples)) < 0.1] = 0
        triples[:, 2] = np.where(triples.any(axis=1), random.uniform(0.1, 1, len(triples)), 0)
        score = 1.0 if ties else float(random.uniform(0, 3))
        result = {"image_id": annotation["image_id"], "category_id": 1, "keypoints": triples.ravel().tolist()}
        results.append({**result, "score": score, **({"bbox": [10, 10, 100, 90]} if boxes else {})})
    return [results[place] for place in random.permutation(len(results))]


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("results", ["results", "results_flags"])
def test_golden_files_of_coco(results: str) -> None:
    path = COCO_TRUTH.with_name(f"{results}.json")
    own = Coco(str(COCO_TRUTH))
    expected = json.loads(path.read_text())
    for entry in expected:
        entry["image_id"] = int(entry["image_id"])
    found = evaluate(COCO_TRUTH, own.read(path), own)
    assert_equal(found, direct(json.loads(COCO_TRUTH.read_text()), expected))
    assert found.warnings == []


def test_golden_files_of_crowdpose() -> None:
    path, own = CROWDPOSE_TRUTH.with_name("results.json"), CrowdPose(str(CROWDPOSE_TRUTH))
    found = evaluate(CROWDPOSE_TRUTH, own.read(path), own)
    assert_equal(found, direct_crowdpose(json.loads(CROWDPOSE_TRUTH.read_text()), json.loads(path.read_text())))
    row = found.values["OKS"]
    assert row["easy"] > row["medium"] > 0
    assert row["hard"] > 0


@pytest.mark.parametrize("annotations", [COCO_TRUTH, pytest.param(REAL["coco"], marks=needs_real_files)], ids=str)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), boxes=st.booleans(), ties=st.booleans())
def test_any_results_of_coco(
    annotations: Path, seed: int, boxes: bool, ties: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Among others with equal scores, which are ranked in the order of the images and of the file."""
    truth = json.loads(annotations.read_text())
    results = noisy(truth, seed, boxes, ties)
    if results:
        path, own = written(tmp_path_factory.mktemp("results") / "a.json", results), Coco(str(annotations))
        assert_equal(evaluate(annotations, own.read(path), own), direct(truth, results))


@pytest.mark.parametrize(
    "annotations", [CROWDPOSE_TRUTH, pytest.param(REAL["crowdpose"], marks=needs_real_files)], ids=str
)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), boxes=st.booleans(), ties=st.booleans())
def test_any_results_of_crowdpose(
    annotations: Path, seed: int, boxes: bool, ties: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    truth = json.loads(annotations.read_text())
    results = noisy(truth, seed, boxes, ties)
    if results:
        path, own = written(tmp_path_factory.mktemp("results") / "a.json", results), CrowdPose(str(annotations))
        assert_equal(evaluate(annotations, own.read(path), own), direct_crowdpose(truth, results))


def test_what_is_written_is_what_is_scored(tmp_path: Path) -> None:
    """After poses have changed, too."""
    own = Coco(str(COCO_TRUTH))
    (sequence,) = own.read(COCO_TRUTH.with_name("results.json"))
    moved = [replace(frame, keypoints=frame.keypoints * 1.01) for frame in sequence.frames]
    refined = replace(sequence, frames=moved)
    own.write([refined], tmp_path / "a.json")
    found = evaluate(COCO_TRUTH, [refined], own)
    assert_equal(found, direct(json.loads(COCO_TRUTH.read_text()), json.loads((tmp_path / "a.json").read_text())))


@needs_real_files
@pytest.mark.parametrize("name", REAL)
def test_the_truth_itself_is_perfect(name: str) -> None:
    own = Coco() if name == "coco" else CrowdPose()
    (sequence,) = own.read(REAL[name])
    posed = replace(sequence, frames=[frame.select(frame.is_posed) for frame in sequence.frames])
    row = evaluate(REAL[name], [posed], own).values["OKS"]
    # In COCO's files a missing keypoint is not annotated either, so that it does not count.
    assert (row["AP"], row["AP50"], row["AR"]) == pytest.approx((100, 100, 100))


def test_nobody_predicted() -> None:
    own = Coco(str(COCO_TRUTH))
    (sequence,) = own.read(COCO_TRUTH)
    empty = replace(sequence, frames=[Frame.empty(frame.image, COCO17) for frame in sequence.frames])
    found = evaluate(COCO_TRUTH, [empty], own)
    assert found.values["OKS"] == dict.fromkeys(found.columns, 0)
    (unscored,) = evaluate(COCO_TRUTH, [], own).warnings
    assert unscored.startswith(f"3 of 3 images of {COCO_TRUTH} are not in the files of poses")


def test_nobody_annotated(tmp_path: Path) -> None:
    truth = json.loads(CROWDPOSE_TRUTH.read_text())
    path = written(tmp_path / "gt.json", {**truth, "annotations": []})
    own = CrowdPose(str(path))
    found = evaluate(path, own.read(CROWDPOSE_TRUTH.with_name("results.json")), own)
    assert all(math.isnan(value) for value in found.values["OKS"].values())
    assert found.as_json()["total"]["OKS"] == dict.fromkeys(found.columns)


class TestCrowdLevels:
    def scores(self, index: float | None, folder: Path) -> dict[str, float]:
        truth = json.loads(CROWDPOSE_TRUTH.read_text())
        for image in truth["images"]:
            image["crowdIndex"] = index
        path = written(folder / "gt.json", truth)
        (sequence,) = CrowdPose().read(path)
        return evaluate(path, [sequence], CrowdPose()).values["OKS"]

    @pytest.mark.parametrize(
        ("index", "level"),
        [(0, "easy"), (0.09, "easy"), (0.1, "medium"), (0.8, "medium"), (0.81, "hard"), (1, "hard"), (None, None)],
    )
    def test_borders(self, index: float | None, level: str | None, tmp_path: Path) -> None:
        row = self.scores(index, tmp_path)
        scored = [name for name in ("easy", "medium", "hard") if not math.isnan(row[name])]
        assert scored == [name for name in [level] if name is not None]
        assert level is None or row[level] == row["AP"]


class TestTrapsOfPycocotools:
    def people(self, **changes: Any) -> dict[str, Any]:
        """One image with one person."""
        truth = json.loads(COCO_TRUTH.read_text())
        return {**truth, "images": truth["images"][:1], "annotations": [{**truth["annotations"][0], **changes}]}

    def score(self, truth: dict[str, Any], folder: Path) -> OksScores:
        path = written(folder / "gt.json", truth)
        return evaluate(path, Coco().read(path), Coco())

    @pytest.mark.parametrize(
        "changes",
        [{"id": 0}, {"id": None}, {"id": "a"}, {"iscrowd": None}, {"num_keypoints": None}, {"area": None}],
        ids=str,
    )
    def test_a_person_is_found(self, changes: dict[str, Any], tmp_path: Path) -> None:
        """Also number 0, whom pycocotools takes for nobody."""
        assert self.score(self.people(**changes), tmp_path).values["OKS"]["AP"] == pytest.approx(100)

    def test_ids_of_several_kinds(self, tmp_path: Path) -> None:
        truth = self.people()
        truth["images"].append({"id": "b", "file_name": "b.jpg"})
        truth["annotations"].append({**truth["annotations"][0], "image_id": "b"})
        assert self.score(truth, tmp_path).values["OKS"]["AP"] == pytest.approx(100)

    def test_a_crowd_without_keypoints(self, tmp_path: Path) -> None:
        truth = self.people()
        crowd = {"image_id": 139, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 3, 4], "area": 5, "id": 9}
        truth["annotations"].append(crowd)
        assert self.score(truth, tmp_path).values["OKS"]["AP"] == pytest.approx(100)

    def test_some_people_without_a_box(self, tmp_path: Path) -> None:
        """Then all are measured by their keypoints."""
        truth = json.loads(COCO_TRUTH.read_text())
        results = noisy(truth, 4, boxes=True, ties=False)
        expected = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
        del results[1]["bbox"]
        own = Coco(str(COCO_TRUTH))
        found = evaluate(COCO_TRUTH, own.read(written(tmp_path / "a.json", results)), own)
        assert_equal(found, direct(truth, expected))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"area": None, "bbox": None}, "annotations[0]: expected a bbox, from which the person's area is taken"),
            ({"area": "x"}, "annotations[0].area: expected 1 numbers, found 'x'"),
            ({"bbox": [1, 2]}, "annotations[0].bbox: expected 4 numbers, found a list of 2"),
            ({"bbox": 5}, "annotations[0].bbox: expected a list, found 5"),
            ({"image_id": 8}, "annotations[0]: image_id 8 is not among the file's images"),
        ],
        ids=str,
    )
    def test_broken_annotations(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        path = written(tmp_path / "gt.json", self.people(**changes))
        with pytest.raises(UserError) as error:
            evaluate(path, [], Coco())
        assert str(error.value).startswith(f"{path}: {message}")

    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_wild_annotations(self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
        wild = st.none() | st.booleans() | st.integers(-1, 3) | st.just(10**400) | st.floats() | st.text(max_size=2)
        value = data.draw(wild | st.lists(wild, max_size=4) | st.dictionaries(st.text(max_size=2), wild, max_size=1))
        truth = self.people()
        holders = [truth["annotations"][0], truth["images"][0], truth["categories"][0], truth]
        holder = data.draw(st.sampled_from(holders))
        holder[data.draw(st.sampled_from([*holder, "crowdIndex"]))] = value
        path = written(tmp_path_factory.mktemp("wild") / "gt.json", truth)
        with suppress(UserError):
            evaluate(path, Coco().read(COCO_TRUTH.with_name("results.json")), Coco())

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        self.score(self.people(), tmp_path)
        assert capsys.readouterr() == ("", "")


class TestImagesByName:
    def test_of_another_folder_and_ending(self) -> None:
        (sequence,) = Coco().read(COCO_TRUTH)
        frames = [replace(frame, image=f"a/{Path(frame.image).stem}.png") for frame in sequence.frames]
        renamed = replace(sequence, frames=frames)
        same = [evaluate(COCO_TRUTH, [own], Coco()).values for own in (sequence, renamed)]
        assert same[0] == same[1]

    def test_of_none(self) -> None:
        sequence = PoseSequence("a", [Frame.empty("b.jpg", COCO17)])
        with pytest.raises(UserError, match=r"annotations.json: expected an image named like b.jpg, found none$"):
            evaluate(COCO_TRUTH, [sequence], Coco())

    def test_of_some(self) -> None:
        (sequence,) = Coco().read(COCO_TRUTH)
        unknown = Frame("b.jpg", COCO17, np.ones((1, 17, 2)))
        some = replace(sequence, frames=[*sequence.frames[1:], unknown])
        found = evaluate(COCO_TRUTH, [some], Coco())
        first, second = found.warnings
        assert first == f"1 images are not in {COCO_TRUTH} and are not scored, such as b.jpg"
        assert second.startswith("1 of 3 images of ")
        assert second.endswith("not in the files of poses and count as without a person, such as 000000000139.jpg")
        assert found.as_json()["warnings"] == found.warnings

    def test_in_another_skeleton(self) -> None:
        (sequence,) = Coco().read(COCO_TRUTH)
        larger = replace(sequence, frames=[frame.in_skeleton(HALPE26) for frame in sequence.frames])
        assert evaluate(COCO_TRUTH, [larger], Coco()) == evaluate(COCO_TRUTH, [sequence], Coco())


def test_own_order_of_keypoints(tmp_path: Path) -> None:
    truth = json.loads(COCO_TRUTH.read_text())
    (sequence,) = Coco().read(COCO_TRUTH)
    truth["categories"][0]["keypoints"].reverse()
    for annotation in truth["annotations"]:
        if "keypoints" in annotation:
            triples = np.array(annotation["keypoints"]).reshape(17, 3)
            annotation["keypoints"] = triples[::-1].ravel().tolist()
    path = written(tmp_path / "gt.json", truth)
    assert evaluate(path, [sequence], Coco()).values == evaluate(COCO_TRUTH, [sequence], Coco()).values


def test_before_and_after() -> None:
    own = Coco(str(COCO_TRUTH))
    predicted = {"results.json": own.read(COCO_TRUTH.with_name("results.json"))}
    comparison = OksComparison(COCO_TRUTH, predicted, own)
    assert comparison.before == evaluate(COCO_TRUTH, predicted["results.json"], own)
    after = comparison.after({"results.json": own.read(COCO_TRUTH)})
    assert after.values["OKS"]["AP"] > comparison.before.values["OKS"]["AP"]
    assert comparison.after(predicted) == comparison.before  # scoring leaves the truth as it was
