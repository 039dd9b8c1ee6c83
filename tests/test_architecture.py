"""Which room of the code imports which, and where libraries are used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

MODULES = sorted((ROOT / "hpr").rglob("*.py"))
PICTURE = re.compile(r"Which room imports which.*?```\n(.*?)```", re.DOTALL)


def imports_of(path: Path) -> Iterator[str]:
    """Yields the names of the modules that a file imports, ours and others."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "hpr":
            yield from (f"hpr.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path: Path) -> str:
    """Returns the room of a file: its first folder or, directly below hpr, its own name."""
    return path.relative_to(ROOT / "hpr").parts[0].removesuffix(".py")


def arrows() -> dict[str, set[str]]:
    """Returns the rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        if (own := room_of(path)) not in ("__init__", "__main__"):
            others = {name.split(".")[1] for name in imports_of(path) if name.startswith("hpr.")}
            found[own] = found.get(own, set()) | (others - {own})
    return found


def test_the_picture_in_the_docs_is_true() -> None:
    picture = PICTURE.search((ROOT / "docs" / "architecture.md").read_text())
    assert picture is not None
    drawn = {}
    for line in picture[1].strip().split("\n"):
        name, _, others = line.partition("→")
        drawn[name.strip()] = set(others.replace(",", " ").split())
    assert drawn == arrows()


def test_no_circular_imports() -> None:
    left = arrows()
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        assert free, f"these import each other: {', '.join(left)}"
        for name in free:
            del left[name]


def test_arrows_that_must_not_exist() -> None:
    forbidden = {"training": {"synthetic", "cli"}, "metrics": {"report", "refine"}}
    forbidden |= {"formats": {"metrics", "models", "training", "report"}, "pose_errors": {"training", "metrics"}}
    forbidden |= {"models": {"formats", "images", "video", "refine"}}
    found = arrows()
    assert not [room for room, others in forbidden.items() if found[room] & others]


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("filelock", {"runtime/folders.py"}),
        ("hydra", {"cli/app.py"}),
        ("jinja2", {"report/html.py"}),
        ("matplotlib", {"report/charts.py"}),
        ("onnx", {"models/export.py"}),
        ("onnxruntime", {"models/export.py"}),
        ("pycocotools", {"metrics/oks.py"}),
        ("tensorboardX", {"training/callbacks.py"}),
        ("tensorflow", {"models/tensorflow.py"}),
        ("timm", {"models/backbones/timm.py"}),
        ("tqdm", {"cli/progress.py", "cli/train.py"}),
    ],
)
def test_a_library_is_used_in_one_place(library: str, users: set[str]) -> None:
    importing = [path for path in MODULES if library in {name.split(".")[0] for name in imports_of(path)}]
    assert {str(path.relative_to(ROOT / "hpr")) for path in importing} == users


def test_rooms_without_torch() -> None:
    users = {room_of(path) for path in MODULES if "torch" in {name.split(".")[0] for name in imports_of(path)}}
    assert not users & {"formats", "metrics", "report", "crops", "images", "poses", "skeleton", "video"}


def test_only_commands_print() -> None:
    printing = {
        room_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"cli"}


@pytest.mark.parametrize("folder", ["hpr", "tests", "tools"])
def test_files_stay_readable(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert not [f"{path}: {length} lines" for path, length in lengths.items() if length > 400]
