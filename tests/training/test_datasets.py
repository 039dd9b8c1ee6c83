"""Data sets as they are downloaded: train, save, refine and score by command; who is masked."""

import json
import math
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import trees
from conftest import fail, small_network, succeed
from dots import QUIET, batch, examples

from hpr import codec
from hpr.cli import app, train
from hpr.cli.components import build
from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco, CrowdPose
from hpr.formats.mpii import Mpii
from hpr.images import ImageFolder
from hpr.models.losses import refinement_losses
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15
from hpr.training.dataset import AnnotatedPeople, PeopleDataset
from hpr.training.examples import prepare

REAL = Path("/work/shared/real")
NAMES = tuple(trees.IMAGES)
SMALL = ["canvas=[96,96]", "training.steps=2", "training.batch_size=2", "training.num_workers=0", "device=cpu"]
SCORES = {"coco": "AP +AP50 +AP75 +AR", "crowdpose": "AP +AP50 +AP75 +AR", "mpii": "PCKh +Head +Shoulder"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Frame]]:
    folder = tmp_path_factory.mktemp("drawn")
    return folder, trees.draw(folder)


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


def validated_files(name: str, root: Path) -> tuple[Path, Path]:
    """Returns the annotations of the validation, and the folder of the images."""
    path = root / trees.annotations(name, "val")
    if name.startswith("posetrack"):
        return path.parent, root
    return path, root / ("val2017" if name == "coco" else "images")


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "coco"]


@pytest.mark.parametrize("name", ["coco", *OTHERS])
def test_train_save_refine_and_score(name: str, root: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    skeleton = {"coco": "coco17", "mpii": "mpii16"}.get(name, "posetrack15")
    model = ["model=demo", f"model.skeleton={skeleton}"]
    words = [*SMALL, *model, f"dataset={name}", f"dataset.root={root}", "dataset.validation.share=1.0"]
    printed = succeed("train.py", *words, f"output_dir={run}")
    assert re.search(SCORES.get(name, "mAP +MOTA +PCKh"), printed)

    annotations, images = validated_files(name, root)
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
class TestAnnotatedPeople:
    """Who is to be learnt from, and what is masked."""

    def test_what_is_labelled(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        has_absent = False
        for person in map(people.person, range(4)):
            present = ~np.isnan(person.pose[:, 0])
            known = [own in POSETRACK15 for own in people.skeleton.names] if name.startswith("posetrack") else present
            np.testing.assert_array_equal(person.labelled, known)
            has_absent |= bool((~present).any())
        assert has_absent

    def test_everything_counts_where_nothing_is_masked(self, name: str, root: Path) -> None:
        person = people_of(name, root, "dataset.training.unlabelled=absent").person(0)
        assert person.labelled.all()
        assert person.is_complete
        assert person.ignored == ()

    def test_regions_are_those_of_the_image(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        found = {person.image.pixels().tobytes(): person.ignored for person in map(people.person, range(8))}
        if name in ("coco", "crowdpose"):
            (regions,) = [regions for regions in found.values() if regions]
            x, y, width, height = trees.CROWD
            assert sorted([tuple(region.min(axis=0)) for region in regions]) == [(x, y), (150, 100)]
            ends = [(x + width - 1, y + height - 1), (170, 130)]
            assert sorted([tuple(region.max(axis=0)) for region in regions]) == ends

    def test_an_image_is_decoded_once_for_its_people(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        assert len({id(people.person(index).image) for index in range(6)}) <= 4


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
class TestRealPhotographs:
    """One training example of each set; the masks were looked at in a picture of them."""

    SETS: ClassVar = {
        "coco": (Coco(), "person_keypoints.json"),
        "crowdpose": (CrowdPose(), "crowdpose.json"),
        "mpii": (Mpii(), "annotations.json"),
        "posetrack18": (PoseTrack18(), "annotations"),
    }

    def people(self, name: str) -> AnnotatedPeople:
        file_format, annotations = self.SETS[name]
        return AnnotatedPeople(file_format, REAL / name / annotations, ImageFolder(REAL / name), seed=0)

    @pytest.mark.parametrize("name", SETS)
    def test_an_example(self, name: str) -> None:
        people = self.people(name)
        example = batch(0, 1, examples(QUIET, people, canvas=(256, 256), skeleton=people.skeleton))
        crops, targets = prepare(example, small_network(people.skeleton), torch.device("cpu"))
        losses = refinement_losses(torch.zeros_like(targets.parts), torch.zeros_like(targets.offsets), targets)
        assert torch.isfinite(losses.total)
        assert targets.parts.any()
        assert crops.tensors.shape == (1, 3 + len(people.skeleton), 256, 256)

    def test_a_person_without_keypoints_is_masked(self) -> None:
        """Behind the batter, at (440, 73) to (458, 106)."""
        regions = [person.ignored for person in map(self.people("coco").person, range(6)) if person.ignored]
        (region,) = regions[0]
        assert region.min(axis=0).tolist() == pytest.approx([440.85, 73.13], abs=1)
        assert region.max(axis=0).tolist() == pytest.approx([457.64, 105.58], abs=1)

    def test_the_audience_is_masked_and_the_dancers_are_not(self) -> None:
        person = self.people("posetrack18").person(0)
        width, height = person.image.size
        audience = codec.cells_within(person.ignored, height // 8, width // 8)
        assert 0.2 < audience.mean() < 0.7
        x, y = (np.nanmean(person.pose, axis=0) / 8).astype(int)
        assert not audience[y, x]
