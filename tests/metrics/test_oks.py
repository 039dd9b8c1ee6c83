"""Scores by object keypoint similarity: those of pycocotools, run on the same file."""

import copy
import io
import json
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats import Format, get_format
from hpr.formats.coco import Coco, CrowdPose
from hpr.metrics.oks import OksTruth
from hpr.metrics.scores import Scores
from hpr.metrics.scoring import open_truth
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26

FORMATS: dict[str, type[Coco]] = {"coco": Coco, "crowdpose": CrowdPose}
TRUTH = {name: GOLDEN / "formats" / name / "annotations.json" for name in FORMATS}
REAL = {"coco": "coco/person_keypoints.json", "crowdpose": "crowdpose/crowdpose.json"}
REAL_TRUTH = {name: path for name, file in REAL.items() if (path := Path("/work/shared/real", file)).is_file()}
COLUMNS = {
    "coco": ("AP", "AP50", "AP75", "APM", "APL", "AR"),
    "crowdpose": ("AP", "AP50", "AP75", "easy", "medium", "hard", "AR"),
}
CLIP = Coco().read(TRUTH["coco"])[0]
RESULTS = TRUTH["coco"].with_name("results.json")


def direct(truth: dict[str, Any], results: list[dict[str, Any]], name: str = "coco") -> dict[str, float]:
    """Scores by pycocotools alone, as its documentation and CrowdPose's own tool say."""
    truth, images = copy.deepcopy(truth), {"all": sorted(image["id"] for image in truth["images"])}
    if name == "crowdpose":
        for annotation in truth["annotations"]:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3] * 0.53
        images |= {"easy": [], "medium": [], "hard": []}
        for image in truth["images"]:
            index = image["crowdIndex"]
            images["easy" if index < 0.1 else "hard" if index > 0.8 else "medium"].append(image["id"])

    scores: dict[str, float] = {}
    for level, own in images.items():
        coco = COCO()
        coco.dataset = truth
        with redirect_stdout(io.StringIO()):
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "keypoints")
            evaluation.params.catIds, evaluation.params.imgIds = [1], own
            if name == "crowdpose":
                tenths = [0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]
                evaluation.params.kpt_oks_sigmas = np.array(tenths) / 10
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = [math.nan if value == -1 else 100 * float(value) for value in evaluation.stats[:6]]
        own_scores = dict(zip(COLUMNS["coco"], values, strict=True))
        scores |= own_scores if level == "all" else {level: own_scores["AP"]}
    return {column: scores[column] for column in COLUMNS[name]}


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
    return [results[index] for index in random.permutation(len(results))]


def opened(path: Path, name: str = "coco", whole: bool = True) -> OksTruth:
    file_format = FORMATS[name]()
    return OksTruth(file_format.ground_truth(path), file_format, str(path), whole)


def score(truth: Path | OksTruth, clips: Sequence[PoseSequence], name: str = "coco") -> Scores:
    return (opened(truth, name) if isinstance(truth, Path) else truth).score({"a.json": clips})


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def assert_equal(found: Scores, expected: dict[str, float]) -> None:
    assert (list(found.table), found.columns) == (["OKS"], tuple(expected))
    assert found.table["OKS"] == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert found.metrics == pytest.approx({key: expected[key] for key in ("AP", "AP50", "AP75", "AR")}, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "results"), [("coco", "results"), ("coco", "results_flags"), ("crowdpose", "results")]
)
def test_golden_files(name: str, results: str) -> None:
    path = TRUTH[name].with_name(f"{results}.json")
    expected = [{**entry, "image_id": int(entry["image_id"])} for entry in json.loads(path.read_text())]
    found = score(TRUTH[name], FORMATS[name](str(TRUTH[name])).read(path), name)
    assert_equal(found, direct(json.loads(TRUTH[name].read_text()), expected, name))
    assert found.warnings == []
    assert found.selection > 0


@pytest.mark.parametrize(("name", "annotations"), [*TRUTH.items(), *REAL_TRUTH.items()])
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), boxes=st.booleans(), ties=st.booleans())
def test_any_results(
    name: str, annotations: Path, seed: int, boxes: bool, ties: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also with equal scores, which are ranked in the order of the images and of the file."""
    truth = json.loads(annotations.read_text())
    if results := noisy(truth, seed, boxes, ties):
        path = written(tmp_path_factory.mktemp("results") / "a.json", results)
        found = score(annotations, FORMATS[name](str(annotations)).read(path), name)
        assert_equal(found, direct(truth, results, name))


def test_nobody(tmp_path: Path) -> None:
    """Nobody predicted, no image predicted, nobody annotated."""
    empty = replace(CLIP, frames=[Frame.empty(frame.image, COCO17) for frame in CLIP.frames])
    assert score(TRUTH["coco"], [empty]).table["OKS"] == dict.fromkeys(COLUMNS["coco"], 0)
    assert score(TRUTH["coco"], []).warnings[0].startswith(f"3 of 3 images of {TRUTH['coco']} have no prediction")
    path = written(tmp_path / "gt.json", {**json.loads(TRUTH["coco"].read_text()), "annotations": []})
    assert score(path, [CLIP]).as_json()["total"]["OKS"] == dict.fromkeys(COLUMNS["coco"])


@pytest.mark.parametrize(
    ("index", "level"),
    [(None, None), (0, "easy"), (0.09, "easy"), (0.1, "medium"), (0.8, "medium"), (0.81, "hard"), (1, "hard")],
)
def test_borders_of_crowd_levels(index: float | None, level: str | None, tmp_path: Path) -> None:
    content = json.loads(TRUTH["crowdpose"].read_text())
    images = [{**image, "crowdIndex": index} for image in content["images"]]
    path = written(tmp_path / "gt.json", {**content, "images": images})
    row = score(path, CrowdPose().read(path), "crowdpose").table["OKS"]
    scored = {name: row[name] for name in ("easy", "medium", "hard") if not math.isnan(row[name])}
    assert scored == ({} if level is None else {level: row["AP"]})


class TestTrapsOfPycocotools:
    def people(self, **changes: Any) -> dict[str, Any]:
        """One image with one person."""
        truth = json.loads(TRUTH["coco"].read_text())
        return {**truth, "images": truth["images"][:1], "annotations": [{**truth["annotations"][0], **changes}]}

    def is_found(self, truth: dict[str, Any], folder: Path) -> bool:
        path = written(folder / "gt.json", truth)
        return math.isclose(score(path, Coco().read(path)).selection, 100)

    ODD = ({"id": 0}, {"id": None}, {"id": "a"}, {"iscrowd": None}, {"num_keypoints": None}, {"area": None})

    @pytest.mark.parametrize("changes", ODD, ids=str)
    def test_a_person_is_found(self, changes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Also number 0, whom pycocotools takes for nobody."""
        assert self.is_found(self.people(**changes), tmp_path)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(
        "second",
        [
            {"image_id": "b"},
            {"image_id": "2"},  # some programs write the number of an image as text
            {"image_id": 2.0},
            {"image_id": 139, "iscrowd": 1, "bbox": [1, 2, 3, 4], "area": 5, "keypoints": None},
        ],
        ids=str,
    )
    def test_other_annotations(self, second: dict[str, Any], tmp_path: Path) -> None:
        """Ids of several kinds, and a crowd without keypoints."""
        truth = self.people()
        truth["images"] += [{"id": image, "file_name": f"{image}.jpg"} for image in ("b", 2)]
        truth["annotations"].append({**truth["annotations"][0], **second})
        assert self.is_found(truth, tmp_path)

    def test_some_people_without_a_box(self, tmp_path: Path) -> None:
        """Then all are measured by their keypoints."""
        truth = json.loads(TRUTH["coco"].read_text())
        results = noisy(truth, 4, boxes=True, ties=False)
        expected = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
        del results[1]["bbox"]
        clips = Coco(str(TRUTH["coco"])).read(written(tmp_path / "a.json", results))
        assert_equal(score(TRUTH["coco"], clips), direct(truth, expected))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"area": None, "bbox": None}, "annotations[0]: expected a bbox, from which the person's area is taken"),
            ({"area": "x"}, "annotations[0].area: expected a number, found 'x'"),
            ({"bbox": [1, 2]}, "annotations[0].bbox: expected 4 numbers, found a list of 2"),
            ({"bbox": 5}, "annotations[0].bbox: expected a list, found 5"),
            ({"image_id": 8}, "annotations[0]: image_id 8 is not among the file's images"),
        ],
        ids=str,
    )
    def test_broken_annotations(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        path = written(tmp_path / "gt.json", self.people(**changes))
        with pytest.raises(UserError) as error:
            score(path, [])
        assert str(error.value).startswith(f"{path}: {message}")


class TestTruth:
    def test_scoring_leaves_it_as_it_was(self) -> None:
        """Whatever folder, ending and skeleton the images have."""
        truth = opened(TRUTH["coco"])
        expected = score(truth, [CLIP])
        renamed = [replace(frame, image=f"a/{Path(frame.image).stem}.png") for frame in CLIP.frames]
        for frames in (renamed, [frame.in_skeleton(HALPE26) for frame in CLIP.frames], CLIP.frames):
            assert score(truth, [replace(CLIP, frames=frames)]) == expected

    @pytest.mark.parametrize(
        ("predictions", "times"), [(Coco(str(TRUTH["coco"])), 2), (get_format("alphapose"), 1)], ids=["coco", "others"]
    )
    def test_is_parsed_once(self, predictions: Format, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """And once before, where results are read beside it: the document is not kept in memory from then on."""
        counted = Mock(side_effect=read_json)
        for module in ("hpr.formats", "hpr.formats.coco", "hpr.formats.records"):
            monkeypatch.setattr(f"{module}.read_json", counted)
        clips = {"a.json": predictions.read(RESULTS) if isinstance(predictions, Coco) else [CLIP]}
        truth = open_truth(predictions, str(TRUTH["coco"]))
        assert truth.score(clips) == truth.score(clips)
        assert len(truth.pairs(clips)[0]) == 3
        assert counted.call_args_list.count(call(TRUTH["coco"])) == times

    def test_predicted_images_alone(self) -> None:
        """As in validation on a share of the images."""
        some = [replace(CLIP, frames=CLIP.frames[:1])]
        part = score(opened(TRUTH["coco"], whole=False), some)
        assert part.selection == pytest.approx(100)
        assert part.warnings == []
        assert score(TRUTH["coco"], some).selection < 100
