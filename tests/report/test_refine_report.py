"""The page of a run of refine.py."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import look, needs_browser
from conftest import GOLDEN, succeed
from hpr.metrics.frame_changes import FrameChanges

from hpr.images import ImageFolder
from hpr.metrics.scores import Scores
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import PoseFile
from hpr.refine.results import Outcome, RefinedPoses
from hpr.refine.tally import Tally
from hpr.report.html import Page, render
from hpr.report.refine_report import Findings, moved_pictures, movement_counts, refine_page
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
        "device": "cpu",
        "precision": "fp32",
        "format": "coco",
        "settings": {"objective": {"name": "mota"}, "dataset": {"predictions": "in", "images": ["a", "b"]}},
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


def pose_file(name: str, frames: int, image: str = "{}.jpg") -> PoseFile:
    keypoints = np.random.default_rng(0).uniform(0, 480, (frames, 2, 17, 2))
    every = [Frame(image.format(number), COCO17, own) for number, own in enumerate(keypoints)]
    return PoseFile(Path(f"{name}.json"), [PoseSequence(name, every)], f"{name}.json")


def test_nothing_was_refined() -> None:
    page = page_of({}, Findings())
    assert facts(page)["people refined"] == ("0 of 0", "")
    assert "moved, in the median" not in facts(page)
    text = render(page)
    for words in ("Nothing was scored", "No pose was refined", "No frame was drawn", "No sequence is complete"):
        assert words in text
    assert "<svg" not in text
    assert "nan" not in text


def scores(ap: float, ar: float) -> Scores:
    return Scores({"OKS": {"AP": ap, "AR": ar}}, "AP", {}, ap, warnings=["odd"])


def test_what_is_said() -> None:
    findings = Findings((scores(50.0, math.nan), scores(60.5, math.nan)), FrameChanges(better=3, worse=1000))
    page = page_of({"clip": tally([0.1, 0.2, 7.0], passed=2)}, findings, stopped=True, broken_files=["b: {"])
    assert facts(page)["people refined"] == ("3 of 5", "2 unchanged")
    assert facts(page)["OKS, AP"] == ("50.0 → 60.5", "+10.5")
    assert facts(page)["moved, in the median"] == ("0.20 heads", "95 % within 7.00")
    assert [warning.partition(" ")[0] for warning in page.warnings] == ["the", "2", "b:", "odd"]
    text = render(page)
    assert "Of 1,003 annotated frames 3 gained, 1,000 lost and 0 are as good as before" in text
    assert re.search(r"image missing or unreadable</th><td>2</td><td>clip, frame 0: a.jpg", text)
    counts = movement_counts(tally([0.1, 0.2, 7.0]))
    assert {index: count for index, count in enumerate(counts) if count} == {1: 1, 3: 1, 20: 1}  # upper edges included


def test_frames_that_changed_most(tmp_path: Path) -> None:
    files = [pose_file(f"clip{number}", 3) for number in range(9)]
    tallies = {}
    for number in (8, 3, 5, 1, 7, 2, 0):
        tallies[f"clip{number}"] = tally([0.1 * number], image="0.jpg")
    tallies["clip4"] = tally([9.0], image="other.jpg")  # of another file's sequence of the same name
    refined, images, read = {file.path.name: file.sequences for file in files}, ImageFolder(tmp_path), list[str]()

    def read_refined(name: str) -> list[PoseSequence]:
        read.append(name)
        return refined[name]

    pictures = moved_pictures(tallies, files, read_refined, images)
    assert [picture.title.partition(",")[0] for picture in pictures] == ["clip8", "clip7", "clip5", "clip3", "clip2"]
    assert pictures[0].problem == f"{tmp_path}/0.jpg: no such image"
    assert pictures[0].caption == "moved by 0.80 head sizes on average"
    assert read == [f"clip{number}.json" for number in (2, 3, 5, 7, 8)]  # no more, and in order

    shutil.copy(GOLDEN / "images" / "a_640x480.png", tmp_path / "0.jpg")
    (picture,) = moved_pictures({"clip1": tally([1.0], image="0.jpg")}, files, read_refined, images)
    assert [*picture.images] == ["input", "refined"]


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
        return re.sub(r'<div class="fact"><dt>time</dt>.*', "", text)

    def test_a_run_that_goes_on_ends_with_the_same_page(self, settings: list[str], tmp_path: Path) -> None:
        printed = succeed("refine.py", *settings)
        assert "predictions, report.json, report.html" in printed
        first = self.page(tmp_path)
        assert first.count('class="second"') == 5  # all frames, most changed first
        assert "Nothing was scored" in first
        assert "no keypoint to start from</th><td>2</td>" in first
        (tmp_path / "out" / "predictions" / "seq_b.json").unlink()
        assert "1 of 2 files were finished" in succeed("refine.py", *settings)
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
            assert "Frames that got worse" in seen["headings"]
            assert "0 of 2 sequences gained, 2 lost" in seen["text"]
            assert "lost most" in seen["text"]
            assert any(label == "truth" for label, _, _ in seen["pictures"])
            assert seen["wide"] <= seen["width"]
