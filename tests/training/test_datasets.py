"""Data sets as they are downloaded: train, save, refine and score by command; who is masked."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import fail, pose_errors, succeed
from dots import pixels_of

from hpr.cli import app, train
from hpr.cli.components import build
from hpr.poses import Frame
from hpr.runtime.processes import ALONE
from hpr.skeleton import POSETRACK15
from hpr.training.dataset import PeopleDataset

NAMES = tuple(trees.IMAGES)
SMALL = ["canvas=[96,96]", "training.steps=2", "training.batch_size=2", "training.num_workers=0", "device=cpu"]
SCORES = {"coco": "AP +AP50 +AP75 +AR", "crowdpose": "AP +AP50 +AP75 +AR", "mpii": "PCKh +Head +Shoulder"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Frame]]:
    """A folder of images and their frames; of two people at most: refining one takes a large part of a second."""
    folder = tmp_path_factory.mktemp("drawn")
    return folder, [frame.select(np.arange(min(len(frame), 2))) for frame in trees.draw(folder)]


@pytest.fixture
def root(request: pytest.FixtureRequest, drawn: tuple[Path, list[Frame]], tmp_path: Path) -> Path:
    """The folder of a data set, whose name is the test's parameter."""
    trees.write(request.getfixturevalue("name"), *drawn, tmp_path / "data")
    return tmp_path / "data"


def people_of(name: str, root: Path, *words: str) -> PeopleDataset:
    """Returns what `hpr train` would learn from."""
    settings = app.compose(train.COMMAND, f"dataset={name}", f"dataset.root={root}", *words)
    assert settings.dataset.training is not None
    people: PeopleDataset = build("dataset.training", settings.dataset.training, seed=0)
    return people


@pytest.mark.parametrize("name", NAMES)
def test_validation_of_drawn_estimates(name: str, root: Path) -> None:
    settings = app.compose(train.COMMAND, f"dataset={name}", f"dataset.root={root}", "dataset.validation.share=1.0")
    assert settings.dataset.validation is not None
    words = {"folder": root, "errors": pose_errors(), "scale": "published", "processes": ALONE}
    validation = build("dataset.validation", settings.dataset.validation, progress=lambda files: None, **words)
    assert " +".join(validation.before.metrics).startswith(SCORES.get(name, "mAP +MOTA +PCKh"))


@pytest.mark.parametrize("name", ["coco", pytest.param("posetrack18", marks=pytest.mark.slow)])
def test_train_save_refine_and_score(name: str, root: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    model = ["model=demo", f"model.skeleton={'coco17' if name == 'coco' else 'posetrack15'}"]
    words = [*SMALL, *model, f"dataset={name}", f"dataset.root={root}", "dataset.validation.share=1.0"]
    succeed("train.py", *words, f"output_dir={run}")

    path = root / trees.annotations(name, "val")
    annotations, images = (path, root / "val2017") if name == "coco" else (path.parent, root)
    words = [f"dataset={name}", f"dataset.predictions={annotations}", f"dataset.annotations={annotations}"]
    words += [f"dataset.images={images}", *model, f"model.weights={run / 'best.safetensors'}", "device=cpu"]
    succeed("refine.py", *words, f"output_dir={out}")
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert metrics["before"] != metrics["after"]


@pytest.mark.parametrize("name", ["posetrack18", "coco", "mpii"])
def test_a_tree_that_is_not_there(name: str, tmp_path: Path) -> None:
    message = fail("train.py", *SMALL, f"dataset={name}", f"dataset.root={tmp_path}", f"output_dir={tmp_path / 'run'}")
    assert f"{tmp_path}/" in message
    assert "expected" in message


@pytest.mark.slow
def test_a_mixture(drawn: tuple[Path, list[Frame]], tmp_path: Path) -> None:
    """Two data sets as they are downloaded; those without a weight need not be there."""
    words = ["dataset=mix", "dataset.parts.coco=3", "model.skeleton=coco17", "dataset.validated=coco"]
    for name in ("posetrack18", "coco"):
        trees.write(name, *drawn, tmp_path / name)
        words.append(f"dataset.sets.{name}.root={tmp_path / name}")
    words += ["training.steps=null", "training.epochs=0.2"]
    printed = succeed("train.py", *SMALL, *words, f"output_dir={tmp_path / 'run'}")
    assert re.search(SCORES["coco"], printed)
    people = sum(frame.is_posed.sum() for frame in drawn[1])
    assert f", {math.ceil(0.2 * 2 * people / 2)} steps on" in printed


@pytest.mark.parametrize("name", NAMES)
def test_who_is_learnt_from_and_what_is_masked(name: str, root: Path) -> None:
    people = people_of(name, root)
    has_absent = False
    for person in map(people.person, range(4)):
        present = ~np.isnan(person.pose[:, 0])
        known = [own in POSETRACK15 for own in people.skeleton.names] if name.startswith("posetrack") else present
        np.testing.assert_array_equal(person.labelled, known)
        has_absent |= bool((~present).any())
    assert has_absent

    person = people_of(name, root, "dataset.training.unlabelled=absent").person(0)
    assert person.labelled.all()
    assert person.is_complete
    assert person.ignored == ()

    found = {pixels_of(person.image).tobytes(): person.ignored for person in map(people.person, range(8))}
    if name in ("coco", "crowdpose"):
        (regions,) = [regions for regions in found.values() if regions]
        x, y, width, height = trees.CROWD
        assert sorted([tuple(region.min(axis=0)) for region in regions]) == [(x, y), (150, 100)]
        ends = [(x + width - 1, y + height - 1), (170, 130)]
        assert sorted([tuple(region.max(axis=0)) for region in regions]) == ends
