"""What a training has come through."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from browser import look, needs_browser
from conftest import full_disk

from hpr.errors import UserError
from hpr.metrics.comparison import ObjectiveScores
from hpr.models.losses import Losses
from hpr.training.history import History
from hpr.training.validation import Validated

BEFORE = ObjectiveScores(50.0, math.nan, 60.0)
PICTURE = np.full((500, 660, 3), 128, np.uint8)


def history(folder: Path, what: str = "demo", log_every: int = 10) -> History:
    return History(folder, what, BEFORE, log_every)


def train(own: History, start: int, stop: int, validate_every: int = 50, steps: int = 200) -> None:
    """Does steps, and ends."""
    own.on_start(start, steps)
    for step in range(start + 1, stop + 1):
        own.on_step(step, Losses(torch.tensor(10.0 / step), torch.tensor(5.0 / step)), torch.tensor(1.0), 0.1)
        if step % validate_every == 0:
            own.on_validation(step, Validated(ObjectiveScores(50.0 + step / 10, math.nan, 70.0), PICTURE))
    own.on_end()


def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "pictures").glob("*"))


def test_nothing_was_done(tmp_path: Path) -> None:
    train(history(tmp_path), 0, 0)
    assert "No step was done" in page(tmp_path)
    assert "The network was not validated yet" in page(tmp_path)
    assert "<img" not in page(tmp_path)


def test_steps_and_validations(tmp_path: Path) -> None:
    train(history(tmp_path), 0, 100)
    kept = json.loads((tmp_path / "history.json").read_text())
    assert [row[0] for row in kept["losses"]] == [1, *range(10, 101, 10)]
    assert [row[:2] for row in kept["scores"]] == [[50, 55.0], [100, 60.0]]
    assert pictures(tmp_path) == ["step_000050.jpg", "step_000100.jpg"]
    text = page(tmp_path)
    assert "100 of 200" in text
    assert "50.0 → 60.0" in text
    assert "After 100 steps (%)" in text
    assert text.index("step 100") < text.index("step 50")


def test_a_run_that_goes_on_has_what_was_up_to_its_checkpoint(tmp_path: Path) -> None:
    train(history(tmp_path / "straight"), 0, 200)
    train(history(tmp_path / "resumed"), 0, 120)
    train(history(tmp_path / "resumed"), 60, 200)
    straight, resumed = ((tmp_path / run / "history.json").read_text() for run in ("straight", "resumed"))
    assert resumed == straight
    assert pictures(tmp_path / "resumed") == pictures(tmp_path / "straight")
    text = page(tmp_path / "resumed")
    assert text.replace("resumed", "straight") == page(tmp_path / "straight")


def test_another_run_in_the_folder_is_forgotten(tmp_path: Path) -> None:
    train(history(tmp_path), 0, 100)
    train(history(tmp_path), 0, 50)
    assert pictures(tmp_path) == ["step_000050.jpg"]
    assert "After 50 steps" in page(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"losses": [[1]], "scores": []}', '{"losses": 5, "scores": 5}']
)
def test_a_damaged_record_costs_curves_and_no_more(text: str, tmp_path: Path) -> None:
    train(history(tmp_path), 0, 50)
    (tmp_path / "history.json").write_text(text)
    train(history(tmp_path), 50, 100)
    assert "After 100 steps" in page(tmp_path)


def test_a_picture_that_is_gone_or_broken(tmp_path: Path) -> None:
    train(history(tmp_path), 0, 150)
    (tmp_path / "pictures" / "step_000050.jpg").unlink()
    (tmp_path / "pictures" / "step_000100.jpg").write_text("")
    train(history(tmp_path), 150, 200)
    assert page(tmp_path).count("<img") == 2


def test_long_runs_keep_their_page_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1400, 664, 3), dtype=np.uint8)
    train(history(tmp_path, log_every=1), 0, 5000, validate_every=500, steps=100_000)
    for path in (tmp_path / "pictures").iterdir():
        cv2.imwrite(str(path), noise)
    train(history(tmp_path), 5000, 5000)
    assert page(tmp_path).count("<img") == 6
    assert len(page(tmp_path)) < 2_000_000


def test_names_are_escaped(tmp_path: Path) -> None:
    train(history(tmp_path, "<script>alert(1)</script>"), 0, 50)
    assert page(tmp_path).count("<script") == 1


def test_a_full_disk(tmp_path: Path) -> None:
    own = history(tmp_path)
    own.on_start(0, 10)
    with full_disk(10):
        with pytest.raises(UserError, match="cannot be written"):
            own.on_validation(5, Validated(BEFORE, None))
        own.on_end()  # says nothing: what ended the training is on its way


@needs_browser
def test_in_a_browser(tmp_path: Path) -> None:
    train(history(tmp_path), 0, 200)
    for seen in look(tmp_path / "report.html", tmp_path):
        assert seen["title"] == "Training"
        assert seen["headings"] == ["Scores of the validation", "Losses", "The same people over time"]
        assert "steps\n200 of 200" in seen["facts"]
        assert [name for name, _, _ in seen["pictures"]] == ["step 200", "step 150", "step 100", "step 50"]
        assert all(width == 660 and is_complete for _, width, is_complete in seen["pictures"])
        assert seen["wide"] <= seen["width"]
        assert seen["loaded"] == []
