"""The pages of the documentation: links, references from the code, and what is said twice."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import hpr

PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("https://", "http://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


def test_pages_that_the_code_refers_to_exist() -> None:
    files = [*(ROOT / "hpr").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "tools").rglob("*.py")]
    found = {name: file for file in files for name in re.findall(r"docs/[\w/]+\.\w+", file.read_text())}
    assert len(found) > 5
    assert {name: file for name, file in found.items() if not (ROOT / name).is_file()} == {}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 750


def test_the_citation_and_the_changes_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == hpr.__version__
    assert f"## {hpr.__version__}" in (ROOT / "CHANGELOG.md").read_text()
