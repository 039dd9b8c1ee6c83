"""The page of a run of refine.py."""

import json
import math
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import look, needs_browser
from conftest import GOLDEN, succeed

import hpr
from hpr.images import Image, ImageFolder
from hpr.metrics.person_changes import AnnotatedChanges, Found, KeypointErrors, PersonChange
from hpr.metrics.scores import Scores
from hpr.poses import Frame, FrameKey
from hpr.refine.results import Outcome, RefinedPoses
from hpr.refine.tally import Tally
from hpr.report.html import Page, Picture, render
from hpr.report.people import person_pictures
from hpr.report.refine_report import Findings, fallen_scores, movement_counts, refine_page
from hpr.skeleton import COCO17


def page_of(tallies: dict[str, Tally], findings: Findings, **changes: Any) -> Page:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    report = {
        **total.as_json(),
        "warnings": [],
        "failed": total.failed,
        "broken_files": [],
        "stopped": False,
        "seconds": 61.0,
        "refined_now": total.refined,
        "device": "cpu",
        "precision": "fp32",
        "format": "coco",
        "settings": {
            "objective": {"name": "mota"},
            "dataset": {"predictions": "in", "images": ["a", "b"]},
            "model": {"architecture": "resnet50", "weights": "/some/where/mine.safetensors"},
        },
        "sequences": dict.fromkeys(tallies),
    }
    return refine_page({**report, **changes}, total, tallies, findings)


def facts(page: Page) -> dict[str, tuple[str, str]]:
    return {fact.label: (fact.value, fact.note) for fact in page.facts}


def tally(heads: list[float], passed: int = 0, image: str = "a.jpg", frames: int = 1) -> Tally:
    """Counts the same frame some times: people who moved by some head sizes, and others without an image."""
    outcomes = [Outcome.REFINED] * len(heads) + [Outcome.BAD_IMAGE] * passed
    keypoints = np.random.default_rng(0).uniform(0, 480, (len(outcomes), 17, 2))
    confidence = np.where(np.arange(len(outcomes))[:, None] < len(heads), np.linspace(0, 1, 17), np.nan)
    moved = np.array([*heads, *[np.nan] * passed])
    refined = RefinedPoses(keypoints, confidence, outcomes, moved, [""] * len(outcomes))
    found, frame = Tally(), Frame(image, COCO17, keypoints)
    for _ in range(frames):
        found.count(frame, refined, frame, COCO17)
    return found


def test_nothing_was_refined() -> None:
    page = page_of({}, Findings())
    assert facts(page)["people refined"] == ("0 of 0", "")
    assert "moved, in the median" not in facts(page)
    text = render(page)
    for words in ("Nothing was scored", "No pose was refined", "No person moved", "No sequence is complete"):
        assert words in text
    assert "<svg" not in text
    assert "nan" not in text
    assert "<thead><tr></tr>" not in text
    assert text.count("<table") == 1  # the settings


def test_the_header() -> None:
    page = page_of({}, Findings())
    for words in ("in (coco)", "model resnet50, weights mine.safetensors", "objective mota", f"hpr {hpr.__version__}"):
        assert words in page.subtitle.split(" · ")
    assert f"{datetime.now():%B %Y}" in page.subtitle


@pytest.mark.parametrize(
    ("count", "expected"), [(1, ("frame", "1", "in 1 sequence")), (2, ("frames", "2", "in 1 sequence"))]
)
def test_one_is_not_many(count: int, expected: tuple[str, str, str]) -> None:
    label, value, note = expected
    assert facts(page_of({"clip": tally([0.1], frames=count)}, Findings()))[label] == (value, note)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(0, "on cpu in fp32"), (6, "0.1 people per second on cpu in fp32"), (305, "5.0 people per second on cpu in fp32")],
)
def test_speed_is_of_what_this_run_refined(now: int, expected: str) -> None:
    page = page_of({"clip": tally([0.1] * 6)}, Findings(), refined_now=now)
    assert facts(page)["time"] == ("61.0 s", expected)


def scores(ap: float, ar: float) -> Scores:
    return Scores({"OKS": {"AP": ap, "AR": ar}}, "AP", {}, ap, warnings=["odd"])


def test_what_is_said() -> None:
    errors = {"left_elbow": KeypointErrors(np.array([0.1, 0.2, 0.9, math.nan]), np.array([0.1, 0.1, 0.1, math.nan]))}
    changes = AnnotatedChanges(better=3, worse=1000, best=[], errors=errors)
    findings = Findings((scores(50.0, math.nan), scores(60.5, math.nan)), changes)
    page = page_of({"clip": tally([0.1, 0.2, 7.0], passed=2)}, findings, stopped=True, broken_files=["b: {"])
    assert facts(page)["people refined"] == ("3 of 5", "2 unchanged")
    assert facts(page)["OKS, AP"] == ("50.0 → 60.5", "+10.5")
    assert facts(page)["moved, in the median"] == ("0.20 heads", "95 % within 7.00")
    assert [warning.partition(" ")[0] for warning in page.warnings] == ["the", "2", "b:", "odd"]
    text = render(page)
    assert "left elbow</th><td>4</td><td>50.0</td><td>75.0</td>" in text
    assert "Those of 1,003 annotated people" in text
    assert "People who gained most" not in text  # no pictures
    assert 'class="fact bad"' not in text
    assert re.search(r"image missing or unreadable</th><td>2</td><td>clip, frame 0: a.jpg", text)
    counts = movement_counts(tally([0.1, 0.2, 7.0]))
    assert {index: count for index, count in enumerate(counts) if count} == {1: 1, 3: 1, 20: 1}  # upper edges included


def test_where_scores_fell() -> None:
    """One tile is red, and one warning says what to look at."""
    changes = AnnotatedChanges(worse=1)
    findings = Findings((scores(50.0, 40.0), scores(49.5, 45.0)), changes, {"worst": [Picture("someone")]})
    page = page_of({"clip": tally([0.1])}, findings, warnings=fallen_scores(findings))
    assert [fact.label for fact in page.facts if fact.is_bad] == ["OKS, AP"]
    assert [warning for warning in page.warnings if "fell" in warning] == [
        "OKS, AP fell from 50.0 to 49.5: by it, the input was better; look at the people who lost most"
    ]
    text = render(page)
    assert text.count('class="fact bad"') == 1
    assert "Of 1 annotated person 0 gained, 1 lost" in text


def change(file: str, frame: int, image: str = "{}.jpg", **fields: Any) -> PersonChange:
    keypoints = np.random.default_rng(frame).uniform(50, 400, (1, 17, 2))
    before = Frame(image.format(frame), COCO17, keypoints, track_ids=(7,))
    after = Frame(before.image, COCO17, keypoints + 9)
    return PersonChange(file, FrameKey(0, frame), file.removesuffix(".json"), before, after, 0.25, **fields)


def test_pictures_of_people(tmp_path: Path) -> None:
    """An image is read once for each person, in the order of files and frames."""
    read: list[str] = []

    class Folder(ImageFolder):
        def read(self, frame: Frame, reduction: int = 1) -> Image:
            read.append(frame.image)
            return super().read(frame, reduction)

    for name in "012":
        shutil.copy(GOLDEN / "images" / "a_640x480.png", tmp_path / f"{name}.png")
    truth = Frame("0.jpg", COCO17, np.full((1, 17, 2), 100.0))
    moved = [change("b.json", 1), change("a.json", 2), change("a.json", 9)]
    best = [change("b.json", 0, truth=truth, found=(Found(1, 2), Found(3, 0)))]
    pictures = person_pictures({"moved": moved, "best": best}, ["a.json", "b.json"], Folder(tmp_path))
    assert read == ["2.jpg", "9.jpg", "0.jpg", "1.jpg"]
    assert [picture.title for picture in pictures["moved"]] == [
        "b, frame 1: 1.jpg, track 7",
        "a, frame 2: 2.jpg, track 7",
        "a, frame 9: 9.jpg, track 7",
    ]
    assert pictures["moved"][0].caption == "moved by 0.25 head sizes (mean of what moved)"
    assert [*pictures["moved"][0].images] == ["input", "refined"]
    assert pictures["moved"][2].problem == f"{tmp_path}/9.jpg: no such image"
    assert [*pictures["best"][0].images] == ["input", "refined", "truth"]
    assert pictures["best"][0].caption.startswith("right keypoints 1 → 3, wrong ones 2 → 0; moved by 0.25")


@pytest.mark.parametrize("height", [40, 160, 1600])
def test_a_tenth_of_a_head_is_visible(height: int, tmp_path: Path) -> None:
    """The person fills the picture whatever the frame, also where a wrong keypoint is far away."""
    cv2.imwrite(str(tmp_path / "0.jpg"), np.full((1800, 3000, 3), 128, np.uint8))
    keypoints = np.full((1, 17, 2), np.nan)
    body = np.array([[0, 0], [0, 0.29], [0, 0.54], [0, 0.78]])  # shoulder, hip, knee, ankle
    names = [f"right_{name}" for name in ("shoulder", "hip", "knee", "ankle")]
    keypoints[0, COCO17.indices(*names)] = [1500, 100] + height * body
    keypoints[0, COCO17.index("left_wrist")] = [20, 1700]
    before = Frame("0.jpg", COCO17, keypoints)
    head = 0.12 * height
    after = Frame("0.jpg", COCO17, keypoints + np.array([0.1 * head, 0.0]))
    own = PersonChange("a", FrameKey(0, 0), "a", before, after, 0.1)
    (picture,) = person_pictures({"moved": [own]}, ["a"], ImageFolder(tmp_path))["moved"]
    old, new = (
        np.array(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), int) for jpeg in picture.images.values()
    )
    orange = [(image[..., 2] > 200) & (image[..., 0] < 90) for image in (old, new)]  # BGR
    places = [np.argwhere(mask).mean(axis=0) for mask in orange]
    assert places[1][1] - places[0][1] > 4  # pixels
    assert np.ptp(np.argwhere(orange[0])[:, 0]) > 250


class TestRun:
    """The command, with the demo network on two clips."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> list[str]:
        shutil.copytree(GOLDEN / "images", tmp_path / "data" / "images")
        shutil.copytree(GOLDEN / "posetrack18" / "predictions", tmp_path / "in")
        words = ["dataset=posetrack18", "model=demo", "device=cpu", "flip=false", f"dataset.root={tmp_path / 'data'}"]
        return [*words, f"dataset.predictions={tmp_path / 'in'}", f"output_dir={tmp_path / 'out'}"]

    def page(self, folder: Path) -> str:
        text = (folder / "out" / "report.html").read_text()
        return re.sub(r'<div class="fact"><dt>time</dt>.*|\d\d \w+ \d{4}, \d\d:\d\d', "", text)

    def test_a_run_that_goes_on_ends_with_the_same_page(self, settings: list[str], tmp_path: Path) -> None:
        printed = succeed("refine.py", *settings)
        assert "predictions, report.json, report.html" in printed
        first = self.page(tmp_path)
        assert first.count('class="second"') == 5  # all tracked people, most moved first
        assert "from where a keypoint moved" in first
        assert "Nothing was scored" in first
        assert "no keypoint to start from</th><td>2</td>" in first
        (tmp_path / "out" / "predictions" / "seq_b.json").unlink()
        assert "1 of 2 files finished" in succeed("refine.py", *settings)
        assert self.page(tmp_path) == first

    @needs_browser
    def test_scores_in_a_browser(self, settings: list[str], tmp_path: Path) -> None:
        """The input is declared true, so that whatever the demo network does to such pictures is worse."""
        (tmp_path / "truth").mkdir()
        for path in (tmp_path / "in").iterdir():
            document = json.loads(path.read_text())
            document["annotations"] = [entry | {"bbox_head": [0, 0, 30, 40]} for entry in document["annotations"]]
            (tmp_path / "truth" / path.name).write_text(json.dumps(document))
        succeed("refine.py", *settings, f"dataset.annotations={tmp_path / 'truth'}")
        metrics = json.loads((tmp_path / "out" / "report.json").read_text())["metrics"]
        for seen in look(tmp_path / "out" / "report.html", tmp_path):
            expected = f"{metrics['before']['mAP']:.1f} → {metrics['after']['mAP']:.1f}"
            assert any(fact.startswith(f"AP, total\n{expected}") for fact in seen["facts"])
            assert "Sequences that gained and lost" in seen["headings"]
            assert "People who lost most" in seen["headings"]
            assert "0 of 2 sequences gained, 2 lost" in seen["text"]
            assert "fell from" in seen["text"]
            assert "lost most" in seen["text"]
            assert any(label == "truth" for label, _, _ in seen["pictures"])
            assert seen["wide"] <= seen["width"]
