"""Data sets as they are downloaded: train, save, refine and score by command; who is masked; mixtures."""

import json
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import trees
from conftest import fail, small_network, succeed
from dots import QUIET, DotPeople, batch, examples

from hpr import codec
from hpr.cli import app, train
from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco, CrowdPose
from hpr.formats.mpii import Mpii
from hpr.images import ImageFolder
from hpr.models.losses import refinement_losses
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, Skeleton
from hpr.training.examples import prepare
from hpr.training.mixture import Mixture
from hpr.training.dataset import AnnotatedPeople, AnnotatedPerson, People, first_present, is_for_training

REAL = Path("/work/shared/real")
NAMES = tuple(trees.IMAGES)
SMALL = ["canvas=[96,96]", "training.steps=2", "training.batch_size=2", "training.workers=0", "device=cpu"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Frame]]:
    folder = tmp_path_factory.mktemp("drawn")
    return folder, trees.draw(folder)


@pytest.fixture
def root(request: pytest.FixtureRequest, drawn: tuple[Path, list[Frame]], tmp_path: Path) -> Path:
    """The folder of a data set, whose name is the test's parameter."""
    trees.write(request.getfixturevalue("name"), *drawn, tmp_path / "data")
    return tmp_path / "data"


def people_of(name: str, root: Path, *words: str) -> People:
    """What train.py would learn from."""
    settings = app.compose(train.COMMAND, f"dataset={name}", f"dataset.root={root}", *words)
    assert settings.dataset.training is not None
    people: People = app.build("dataset.training", settings.dataset.training, seed=0)
    return people


def in_train_and_val(name: str, root: Path) -> tuple[Path, Path]:
    """The annotations of the validation, and the folder of the images."""
    if name == "mpii":
        return root / "mpii_human_pose_v1_u12_1.mat", root / "images"
    path = root / trees.ANNOTATIONS[name].format(split="val")
    if name.startswith("posetrack"):
        return path.parent, root
    return path, root / ("val2017" if name == "coco" else "images")


SCORES = {"coco": "AP +AP50 +AP75 +AR", "crowdpose": "AP +AP50 +AP75 +AR", "mpii": "PCKh +Head +Shoulder"}


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "coco"]


@pytest.mark.parametrize("name", ["coco", *OTHERS])
def test_train_save_refine_and_score(name: str, root: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    skeleton = {"coco": "coco17", "mpii": "mpii16"}.get(name, "posetrack15")
    model = ["model=demo", f"model.skeleton={skeleton}"]
    words = [*SMALL, *model, f"dataset={name}", f"dataset.root={root}", "dataset.validation.share=1.0"]
    printed = succeed("train.py", *words, f"output_dir={run}")
    assert (run / "pictures" / "step_000002.jpg").is_file()
    assert re.search(SCORES.get(name, "mAP +MOTA +PCKh"), printed)

    annotations, images = in_train_and_val(name, root)
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


@pytest.mark.parametrize("name", NAMES)
class TestAnnotatedPeople:
    """Who is to be learnt from, and what is masked."""

    def test_what_is_labelled(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        has_absent = False
        for index in range(4):
            person = people.person(index)
            present = ~np.isnan(person.pose[:, 0])
            known = [own in POSETRACK15 for own in people.skeleton.names] if name.startswith("posetrack") else present
            np.testing.assert_array_equal(person.labelled, known)
            has_absent |= bool((~present).any())
        assert has_absent

    def test_everything_counts_where_nothing_is_masked(self, name: str, root: Path) -> None:
        people = people_of(name, root, "dataset.training.unlabelled=absent")
        person = people.person(0)
        assert person.labelled.all()
        assert person.is_complete
        assert person.ignored == ()

    def test_regions_are_those_of_the_image(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        found = {person.image.pixels().tobytes(): person.ignored for person in map(people.person, range(8))}
        if name in ("coco", "crowdpose"):
            (regions,) = [regions for regions in found.values() if regions]
            x, y, width, height = trees.CROWD
            corners = [(x, y), (x + width - 1, y + height - 1)]
            assert sorted([tuple(region.min(axis=0)) for region in regions]) == [corners[0], (150, 100)]
            assert sorted([tuple(region.max(axis=0)) for region in regions]) == [corners[1], (170, 130)]

    def test_an_image_is_decoded_once_for_its_people(self, name: str, root: Path) -> None:
        people = people_of(name, root)
        images = [people.person(index).image for index in range(6)]
        assert len({id(image) for image in images}) <= 4


def frames_of_people(counts: list[int], skeleton: Skeleton = MPII16) -> list[Frame]:
    """Frames of so many people each, who can be told apart by their keypoints."""
    frames = []
    for number, count in enumerate(counts):
        people = 100.0 * number + 1 + np.arange(count)[:, None, None]
        frames.append(Frame(f"{number}.jpg", skeleton, np.broadcast_to(people, (count, len(skeleton), 2))))
    return frames


class Blank(ImageFolder):
    """Images without files, of which it is counted how often they are opened."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        object.__setattr__(self, "opened", Counter())

    def size(self, frame: Frame) -> tuple[int, int]:
        self.opened[frame.image] += 1  # type: ignore[attr-defined]
        return 4, 4

    def reductions(self, frame: Frame) -> tuple[int, ...]:
        return (1,)


class Frames(Mpii):
    """A format whose file holds given frames."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        return [PoseSequence("a", self._frames)]


class TestOrder:
    @pytest.mark.parametrize("counts", [[1], [3], [5, 1, 9, 4]])
    def test_four_of_an_image_in_a_row(self, counts: list[int], tmp_path: Path) -> None:
        images, path = Blank(), tmp_path / "a.json"
        path.touch()
        people = AnnotatedPeople(Frames(frames_of_people(counts)), path, images, seed=0)
        total = sum(counts)
        for epoch in (0, 1, 2):
            places = [people.person(epoch * total + place).pose[0, 0] for place in range(total)]
            assert len(set(places)) == total
            runs = 1 + sum(a // 100 != b // 100 for a, b in pairwise(places))
            assert runs <= sum(-(-count // 4) for count in counts)
        assert images.opened.total() <= 3 * sum(-(-count // 4) for count in counts)  # type: ignore[attr-defined]

    def test_the_order_is_of_the_epoch_and_the_seed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.touch()
        orders = []
        for seed in (0, 0, 1):
            people = AnnotatedPeople(Frames(frames_of_people([2] * 9)), path, Blank(), seed=seed)
            orders.append([float(people.person(index).pose[0, 0]) for index in range(36)])
        assert orders[0] == orders[1] != orders[2]
        assert orders[0][:18] != orders[0][18:]


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

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
    @pytest.mark.parametrize("name", SETS)
    def test_an_example(self, name: str) -> None:
        people = self.people(name)
        example = batch(0, 1, examples(QUIET, people, canvas=(256, 256), skeleton=people.skeleton))
        crops, targets = prepare(example, small_network(people.skeleton), torch.device("cpu"))
        losses = refinement_losses(torch.zeros_like(targets.parts), torch.zeros_like(targets.offsets), targets)
        assert torch.isfinite(losses.total)
        assert targets.parts.any()
        assert crops.tensors.shape == (1, 3 + len(people.skeleton), 256, 256)

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
    def test_a_person_without_keypoints_is_masked(self) -> None:
        """Behind the batter, at (440, 73) to (458, 106)."""
        regions = [person.ignored for person in map(self.people("coco").person, range(6)) if person.ignored]
        (region,) = regions[0]
        assert region.min(axis=0).tolist() == pytest.approx([440.85, 73.13], abs=1)
        assert region.max(axis=0).tolist() == pytest.approx([457.64, 105.58], abs=1)

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
    def test_the_audience_is_masked_and_the_dancers_are_not(self) -> None:
        people = self.people("posetrack18")
        person = people.person(0)
        width, height = person.image.size
        audience = codec.cells_within(person.ignored, height // 8, width // 8)
        assert 0.2 < audience.mean() < 0.7
        x, y = (np.nanmean(person.pose, axis=0) / 8).astype(int)
        assert not audience[y, x]


class TestHeldOut:
    def test_a_tenth_of_the_images(self) -> None:
        names = [f"{number:09d}.jpg" for number in range(3000)]
        assert 2600 < sum(map(is_for_training, names)) < 2800

    def test_nobody_is_in_both(self, tmp_path: Path) -> None:
        path, absent = tmp_path / "a.json", tmp_path / "valid.json"
        path.touch()
        frames = frames_of_people([1] * 40)
        people = AnnotatedPeople(Frames(frames), path, Blank(), seed=0, validation_file=absent)
        learnt = {people.person(index).pose[0, 0] // 100 for index in range(80)}
        assert learnt == {number for number in range(40) if is_for_training(f"{number}.jpg")} != set(range(40))
        absent.touch()
        people = AnnotatedPeople(Frames(frames), path, Blank(), seed=0, validation_file=absent)
        assert {people.person(index).pose[0, 0] // 100 for index in range(40)} == set(range(40))

    def test_the_first_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "b").touch()
        assert first_present("anything") == Path("anything")
        assert first_present([tmp_path / "a", tmp_path / "b"]) == tmp_path / "b"
        with pytest.raises(UserError, match=r"^expected .*/a or .*/c, found none; set dataset\.root"):
            first_present([tmp_path / "a", tmp_path / "c"])


class TestMixture:
    PARTS: ClassVar = {"a": lambda seed: DotPeople(POSETRACK15), "b": lambda seed: DotPeople(COCO17)}

    def test_skeletons_are_joined_by_name(self) -> None:
        mixed = Mixture(self.PARTS, {"a": 1.0, "b": 1.0}, seed=0)
        assert set(mixed.skeleton.names) == set(POSETRACK15.names) | set(COCO17.names)
        seen = set()
        for index in range(0, 80, 4):
            person = mixed.person(index)
            labelled = {name for name, known in zip(mixed.skeleton.names, person.labelled, strict=True) if known}
            seen.add(len(labelled))
            assert labelled in (set(POSETRACK15.names), set(COCO17.names))
            np.testing.assert_array_equal(np.isnan(person.pose[:, 0]), ~person.labelled)
        assert seen == {15, 17}

    @pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}, {"a": 1e-9, "b": 5.0}])
    def test_weights(self, weights: dict[str, float]) -> None:
        mixed = Mixture(self.PARTS, weights, seed=0)
        total = sum(weights.values())
        from_b = sum(mixed.person(4 * visit).labelled.sum() == 17 for visit in range(1000))
        assert from_b == pytest.approx(1000 * weights.get("b", 0.0) / total, abs=1.01)

    def test_everyone_comes_once_before_one_comes_again(self) -> None:
        asked: list[int] = []

        class Noted(DotPeople):
            def person(self, index: int) -> AnnotatedPerson:
                asked.append(index)
                return super().person(index)

        mixed = Mixture({"a": lambda seed: Noted(), "b": lambda seed: DotPeople()}, {"a": 1.0, "b": 2.0}, seed=3)
        for index in range(8000):
            mixed.person(index)
        assert asked == list(range(len(asked)))
        assert len(asked) == pytest.approx(8000 / 3, abs=8)
        again = Mixture(self.PARTS, {"a": 1.0, "b": 2.0}, seed=3)
        late = Mixture(self.PARTS, {"a": 1.0, "b": 2.0}, seed=3)
        late.person(70_000)
        np.testing.assert_array_equal(again.person(5).pose, late.person(5).pose)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"c": 1.0}, r"dataset\.parts\.c: expected one of a, b"),
            ({"a": 0.0}, r"dataset\.parts: expected a weight above 0"),
        ],
    )
    def test_refused(self, weights: dict[str, float], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Mixture(self.PARTS, weights, seed=0)

    @pytest.mark.slow
    def test_by_command(self, drawn: tuple[Path, list[Frame]], tmp_path: Path) -> None:
        """Two data sets as they are downloaded; those without a weight need not be there."""
        roots = {name: tmp_path / name for name in ("posetrack18", "coco")}
        for name, root in roots.items():
            trees.write(name, *drawn, root)
        words = [f"dataset.sets.{name}.root={root}" for name, root in roots.items()]
        words += ["dataset=mix", "dataset.parts.coco=3", "model.skeleton=coco17", "dataset.validated=coco"]
        words += ["training.steps=null", "training.epochs=0.2"]
        printed = succeed("train.py", *SMALL, *words, f"output_dir={tmp_path / 'run'}")
        assert re.search(SCORES["coco"], printed)
        people = sum(frame.is_posed.sum() for frame in drawn[1])
        assert f", {math.ceil(0.2 * 2 * people / 2)} steps on" in printed
