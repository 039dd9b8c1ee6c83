"""Which room of the house imports which, and what the library keeps out of."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

MODULES = sorted((ROOT / "hpr").rglob("*.py"))
PICTURE = re.compile(r"Which room imports which.*?```\n(.*?)```", re.DOTALL)


def room(module: str) -> str:
    """Returns the room of a module: the part of its name behind "hpr."."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> Iterator[str]:
    """Yields the names of the modules of ours, and of others, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "hpr":
            yield from (f"hpr.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def arrows() -> dict[str, set[str]]:
    """Returns the rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        own = path.relative_to(ROOT / "hpr").parts[0].removesuffix(".py")
        ours = {room(name) for name in imported(path) if name.startswith("hpr.")}
        if own != "__init__":
            found[own] = found.get(own, set()) | (ours - {own})
    return found


def test_the_picture_in_the_docs_is_true() -> None:
    picture = PICTURE.search((ROOT / "docs" / "architecture.md").read_text())
    assert picture is not None
    drawn = {}
    for line in picture[1].strip().split("\n"):
        name, _, others = line.partition("→")
        drawn[name.strip()] = set(others.replace(",", " ").split())
    assert drawn == arrows()


def test_nobody_imports_in_a_circle() -> None:
    left = arrows()
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        assert free, f"these import each other: {', '.join(left)}"
        for name in free:
            del left[name]


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("hydra", {"commands/app.py"}),
        ("tqdm", {"commands/progress.py", "commands/train.py"}),
        ("tensorflow", {"weights/tensorflow.py"}),
        ("onnx", {"models/export.py"}),
        ("onnxruntime", {"models/export.py"}),
        ("matplotlib", {"report/charts.py"}),
        ("jinja2", {"report/page.py"}),
    ],
)
def test_libraries_have_a_place(library: str, rooms: set[str]) -> None:
    users = {
        str(path.relative_to(ROOT / "hpr"))
        for path in MODULES
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users == rooms


@pytest.mark.parametrize("name", ["formats", "weights", "evaluation", "crops", "skeleton", "poses", "images", "report"])
def test_files_and_poses_need_no_torch(name: str) -> None:
    paths = [path for path in MODULES if path.relative_to(ROOT / "hpr").parts[0].removesuffix(".py") == name]
    assert not [path for path in paths if any(other.split(".")[0] == "torch" for other in imported(path))]


def test_the_library_prints_nothing() -> None:
    printing = [
        path.relative_to(ROOT / "hpr").parts[0]
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert set(printing) == {"commands"}
