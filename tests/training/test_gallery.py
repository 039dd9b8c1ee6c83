"""The picture of mistakes, through its command."""

from pathlib import Path

from conftest import ROOT, fail, succeed

from hpr.files import read_image


def test_command_draws_every_kind(tmp_path: Path) -> None:
    succeed("tools/show_errors.py", f"output={tmp_path / 'errors.jpg'}")
    picture = read_image(tmp_path / "errors.jpg").astype(int)
    panels = [picture[28:328, column * 204 : column * 204 + 200] for column in range(8)]
    assert picture.shape[1] == 8 * 204 - 4
    assert all(abs(panel - panels[0]).max() > 60 for panel in panels[1:])


def test_unknown_errors() -> None:
    assert "there is no such pose_errors" in fail("tools/show_errors.py", "pose_errors=none")


def test_readme_carries_it() -> None:
    assert "docs/pose_errors.jpg" in (ROOT / "README.md").read_text()
    assert (ROOT / "docs" / "pose_errors.jpg").is_file()
