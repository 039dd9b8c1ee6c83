"""The one line of an error; files: JSON with one-line errors; writing that is complete or leaves nothing."""

import gc
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import full_disk
from hypothesis import given
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.files import read_json, replacing, replacing_folder, write_json


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("ä.json: no such file", "ä.json: no such file"),
        ("found a\nb", r"found a\nb"),
        ("found a\u2028b\x00", r"found a\u2028b\x00"),
        ("found \ud800", r"found \ud800"),
        ("x" * 9000, "x" * 1400 + "…"),
    ],
)
def test_an_error_is_one_line_that_can_be_shown(message: str, line: str) -> None:
    assert str(UserError(message)) == line


@pytest.mark.parametrize(
    ("content", "indent", "text"),
    [
        pytest.param({}, None, "{}", id="empty"),
        pytest.param({"b": [1, 2.5], "c": None}, None, '{"b":[1,2.5],"c":null}', id="in one line"),
        pytest.param({"b": [1]}, 4, '{\n    "b": [\n        1\n    ]\n}', id="indented by four"),
        pytest.param([0.1, 1e16, 5e-324, -0.0, 1, True], None, None, id="numbers"),
        pytest.param({"a": [math.nan, math.inf, None]}, None, '{"a":[NaN,Infinity,null]}', id="no numbers"),
        pytest.param([2**70, -(2**63), 2**64], None, None, id="whole numbers of any size"),
        pytest.param([{"name": "Zoë\ud800\u2028"}, {"ü": {}}], None, None, id="texts"),
        pytest.param({"a": list(range(2500)), "b": [{"c": [i / 7]} for i in range(1001)]}, None, None, id="long lists"),
    ],
)
def test_json_stays_as_it_is(content: Any, indent: int | None, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, content, indent)
    assert path.read_bytes().isascii()
    assert repr(read_json(path)) == repr(json.loads(json.dumps(content)))
    assert text in (None, path.read_text())


@given(st.integers(10**18, 2**80), st.integers(0, 9), st.sampled_from(["", "-", "0.", "1e1, "]))
def test_numbers_of_any_size(number: int, spaces: int, before: str) -> None:
    """Wherever the digits lie in a file: those of large integers are looked for in words of four characters."""
    text = f"{' ' * spaces}[{before}{number}]"
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_text(text)
        assert repr(read_json(path)) == repr(json.loads(text))


@pytest.mark.parametrize("count", [0, 1, 1000, 2001])
def test_an_iterator_is_written_as_a_list(count: int, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": ({"id": i} for i in range(count)), "b": []})
    assert read_json(tmp_path / "a.json") == {"a": [{"id": i} for i in range(count)], "b": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no such file", id="absent"),
        pytest.param(b"", "not valid JSON at line 1, column 1", id="empty"),
        pytest.param(b'{\n"a": }', "not valid JSON at line 2, column 6", id="broken"),
        pytest.param(b"\xff", "not a JSON text", id="not a text"),
        pytest.param(b"[" * 100_000, "not a JSON text", id="too deep"),
    ],
)
def test_unreadable_json(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: {message}")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        raise KeyboardInterrupt(temporary.write_text("new, but only ha"))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_or_a_file_in_the_way_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(100), pytest.raises(UserError, match=r"a.json: cannot be written \(File too large\)"):
        write_json(tmp_path / "a.json", list(range(1000)))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


class TestReplacingFolder:
    def test_replaces_the_former_folder(self, tmp_path: Path) -> None:
        for names in ([], ["first"], ["second"]):
            with replacing_folder(tmp_path / "a" / "b") as folder:
                for name in names:
                    (folder / name).touch()
            assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", *names]

    def test_an_error_leaves_the_former_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with (
            pytest.raises(UserError, match=r"a: cannot be written \(No space left\)"),
            replacing_folder(tmp_path / "a"),
        ):
            raise OSError(28, "No space left")
        assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_left_as_it_was(was_enabled: bool, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    try:
        (gc.enable if was_enabled else gc.disable)()
        with pytest.raises(UserError):
            read_json(tmp_path / "a.json")
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()
