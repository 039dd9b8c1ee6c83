"""The picture of mistakes, through its command."""

from pathlib import Path

from conftest import ROOT, compose, fail, succeed
from hydra.utils import instantiate

from hpr.images import read_image
from hpr.skeleton import COCO17, POSETRACK15
from hpr.training.gallery import mistakes_picture


def test_command_draws_every_kind(tmp_path: Path) -> None:
    succeed("tools/show_errors.py", f"output={tmp_path / 'errors.jpg'}")
    picture = read_image(tmp_path / "errors.jpg").astype(int)
    panels = [picture[28:328, column * 204 : column * 204 + 200] for column in range(8)]
    assert picture.shape[1] == 8 * 204 - 4
    assert all(abs(panel - panels[0]).max() > 60 for panel in panels[1:])


def test_unknown_errors() -> None:
    assert "there is no such pose_errors" in fail("tools/show_errors.py", "pose_errors=none")


def test_the_documentation_carries_it() -> None:
    assert "](pose_errors.jpg)" in (ROOT / "docs" / "training.md").read_text()
    assert (ROOT / "docs" / "pose_errors.jpg").is_file()


def test_other_skeletons() -> None:
    errors = instantiate(compose("show_errors").pose_errors)
    pictures = [mistakes_picture(errors, 3, skeleton).astype(int) for skeleton in (POSETRACK15, COCO17)]
    assert pictures[0].shape == pictures[1].shape
    assert abs(pictures[0] - pictures[1]).max() > 60
