"""One run in a folder at a time."""

from pathlib import Path

import pytest

from hpr.errors import UserError
from hpr.runtime.folders import lock_folder


def test_a_new_folder_is_made_and_left_clean(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_second_run_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(UserError, match="another run is at work in it"), lock_folder(tmp_path):
        raise AssertionError
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path):
        raise ZeroDivisionError
    with lock_folder(tmp_path):  # free after an error
        pass


def test_what_a_killed_run_left_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    left = tmp_path / "predictions" / f".a.json.{'0' * 32}"
    kept = [tmp_path / ".hidden", tmp_path / "predictions" / "a.json", tmp_path / f"b.{'0' * 32}"]
    for path in (left, *kept):
        path.touch()
    folder = tmp_path / "predictions" / f".clip.{'1' * 32}"
    folder.mkdir()
    (folder / "0.json").touch()
    with lock_folder(tmp_path):
        assert not left.exists()
        assert not folder.exists()
        assert all(path.exists() for path in kept)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), lock_folder(tmp_path / "file" / "a"):
        raise AssertionError
