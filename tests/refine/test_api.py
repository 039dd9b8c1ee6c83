"""What a Python program does with hpr: weights by name, objectives, results that are drawn and saved."""

import doctest
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest
from conftest import SAMPLE, command, small_network

import hpr
from hpr import Objective, Outcome, PoseRefiner, RefinedPoses, draw_poses
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.formats import PoseTrack18, get_format
from hpr.images import Image, read_image
from hpr.models.places import find_weights
from hpr.poses import Frame
from hpr.refine import engine
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, Skeleton

FRAME: Frame = PoseTrack18().read(SAMPLE / "predictions" / "clip_0002_0001.json")[0].frames[0]
PICTURE = SAMPLE / FRAME.image
PERSON_SCORES = np.linspace(0.2, 0.9, len(FRAME))


@pytest.fixture(scope="module")
def image() -> Image:
    return read_image(PICTURE)


@pytest.fixture(scope="module")
def refiner() -> PoseRefiner:
    return PoseRefiner.load("demo", "cpu", flip=False, margin=50)


def refine(refiner: PoseRefiner, image: Any = PICTURE, **arguments: Any) -> RefinedPoses:
    """Refines the people of the sample's first frame, in the order of PoseTrack 2018."""
    given = {"skeleton": "posetrack18", "scores": FRAME.scores, "person_scores": PERSON_SCORES, **arguments}
    return refiner(image, FRAME.keypoints, **given)


def test_examples_of_the_docstrings() -> None:
    examples = [test for test in doctest.DocTestFinder().find(engine) if test.examples]
    assert {test.name.rpartition(".")[2] for test in examples} >= {"PoseRefiner", "__call__"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples:
        assert runner.run(test).failed == 0


def test_a_typed_program(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (90, 120), "gray").save(tmp_path / "a.png")
    result = command("tests/refine/user_program.py", tmp_path / "a.png", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "drawn.png", "refined.npz"}


class TestWeights:
    def test_bundled_names(self) -> None:
        assert [find_weights(name).name for name in ("photo", "demo")] == ["photo.safetensors", "demo.safetensors"]
        assert all(find_weights(name).is_file() for name in ("photo", "demo"))

    def test_a_path_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "b.safetensors"
        path.touch()
        assert find_weights(path) == find_weights(str(path)) == path

    def test_published(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the current folder, else in the user's cache."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(
            UserError, match=r"^model/snap.*: the published weights are not here, nor in .* run: hpr port checkpoint="
        ):
            PoseRefiner.load("published")
        places = [tmp_path / "cache" / "hpr", tmp_path / "model"]
        for place in places:
            place.mkdir(parents=True)
            (place / "snapshot-515000.safetensors").touch()
            assert find_weights("published").resolve().parent == place

    @pytest.mark.parametrize("name", ["photos", "elsewhere/photo.safetensors"])
    def test_there_is_none(self, name: str) -> None:
        with pytest.raises(UserError, match=rf"^{name}: no such weights, nor in .*; [^\n]*$"):
            PoseRefiner.load(name)


def test_uncertain_keypoints_are_missing_for_the_network(refiner: PoseRefiner, image: Image) -> None:
    """A guess far off, in the picture, changes nothing; by default for networks that do not see scores."""
    keypoints, scores = FRAME.keypoints.copy(), np.full(FRAME.scores.shape, 0.9)
    keypoints[:, 9], scores[:, 9] = np.nan, np.nan
    without = refiner(image, keypoints, scores=scores, skeleton="posetrack18")
    keypoints[:, 9], scores[:, 9] = [5.0, 5.0], 0.1
    guessed = refiner(image, keypoints, scores=scores, skeleton="posetrack18")
    np.testing.assert_array_equal(guessed.confidence, without.confidence)
    taken = refiner(image, keypoints, scores=scores, skeleton="posetrack18", min_score=0.05)
    assert (taken.confidence != without.confidence)[taken.is_refined].any()
    assert (refiner.default_min_score, PoseRefiner.load("photo", "cpu").default_min_score) == (0.2, 0.0)


class TestObjectives:
    def test_by_name(self, refiner: PoseRefiner) -> None:
        everything, sure, rescored = (
            refine(refiner, objective=name, min_score=0) for name in ("map", "mota", "rescore")
        )
        kept = np.isfinite(sure.keypoints[..., 0])
        confidence = everything.confidence
        known = np.isfinite(confidence)
        np.testing.assert_array_equal(kept[known], confidence[known] > 0.7)
        assert 0 < kept.sum() < np.isfinite(everything.keypoints[..., 0]).sum()

        for own in (everything, sure):
            np.testing.assert_array_equal(own.scores, FRAME.scores)
            np.testing.assert_array_equal(own.person_scores, PERSON_SCORES)
        is_common = np.isfinite(rescored.keypoints[..., 0]) & FRAME.present & known
        np.testing.assert_allclose(rescored.scores[is_common], (FRAME.scores * confidence)[is_common])
        assert (rescored.person_scores < PERSON_SCORES).all()
        np.testing.assert_array_equal(refine(refiner, min_score=0).keypoints, everything.keypoints)

    def test_of_ones_own(self, refiner: PoseRefiner) -> None:
        found = refine(refiner, objective=Objective(keep=0.4, add=0.99, score="network"))
        kept = np.isfinite(found.keypoints[..., 0]) & np.isfinite(found.confidence)
        np.testing.assert_array_equal(found.scores[kept], found.confidence[kept])
        assert (found.confidence[kept] > 0.4).all()

    def test_without_scores(self, refiner: PoseRefiner) -> None:
        found = refine(refiner, scores=None, person_scores=None, objective="rescore")
        assert np.isnan(found.scores).all()
        assert np.isnan(found.person_scores).all()

    def test_unknown(self, refiner: PoseRefiner) -> None:
        with pytest.raises(
            UserError, match=r"unknown objective 'ap': expected one of map, mota, rescore, or an hpr.Obj"
        ):
            refine(refiner, objective="ap")
        with pytest.raises(ValueError, match=r"objective: expected a name or an hpr.Objective, found float"):
            refine(refiner, objective=0.7)


class TestScale:
    @pytest.mark.parametrize(
        ("network", "own", "rule"),
        [
            (POSETRACK15, POSETRACK15, "published"),
            (POSETRACK15, POSETRACK18, "published"),
            (POSETRACK15, COCO17, "body"),
            (COCO17, POSETRACK18, "body"),  # the network does not know the head's ends
        ],
    )
    def test_auto(self, network: Skeleton, own: Skeleton, rule: ScaleRule, image: Image) -> None:
        model, keypoints = small_network(network), FRAME.in_skeleton(own).keypoints
        found = PoseRefiner(model, "cpu", flip=False)(image, keypoints, skeleton=own)
        for name in get_args(ScaleRule):
            other = PoseRefiner(model, "cpu", flip=False, scale=name)(image, keypoints, skeleton=own)
            is_same = np.array_equal(found.confidence, other.confidence, equal_nan=True)
            assert is_same == (name == rule)


def test_boxes() -> None:
    """The photograph refiner looks around the box; without one, around the keypoints."""
    refiner, keypoints = PoseRefiner.load("photo", "cpu"), FRAME.in_skeleton(COCO17).keypoints[:2]
    low, high = np.nanmin(keypoints, axis=1), np.nanmax(keypoints, axis=1)
    boxes = np.concatenate([low - 5, high + 5], axis=1).astype(np.float32)
    boxes[1] = np.nan
    around, within = (refiner(PICTURE, keypoints, skeleton="coco17", boxes=own) for own in (None, boxes))
    assert not np.array_equal(around.confidence[0], within.confidence[0])
    np.testing.assert_array_equal(around.confidence[1], within.confidence[1])
    (alone, other) = refiner([PICTURE, PICTURE], [keypoints] * 2, skeleton="coco17", boxes=[None, boxes])
    np.testing.assert_allclose(alone.keypoints, around.keypoints, atol=0.05)
    np.testing.assert_allclose(other.keypoints, within.keypoints, atol=0.05)


class TestResults:
    def test_plot(self, refiner: PoseRefiner, image: Image) -> None:
        found, before = refine(refiner), image.copy()
        for given in (image, PICTURE, PIL.Image.fromarray(image)):
            np.testing.assert_array_equal(found.plot(given), draw_poses(image, found.keypoints, POSETRACK18))
        np.testing.assert_array_equal(image, before)
        assert (found.plot(image) != image).any()

    def test_arrays(self, refiner: PoseRefiner, tmp_path: Path) -> None:
        boxes = np.tile([1.0, 2, 30, 40], (len(FRAME), 1))
        found = refine(refiner, boxes=boxes, objective="rescore")
        found.save(tmp_path / "refined.npz")
        ((frame,),) = (own.frames for own in get_format("npz").read(tmp_path / "refined.npz"))
        assert (frame.image, frame.skeleton) == (PICTURE.name, POSETRACK18)
        for name in ("keypoints", "scores", "person_scores"):
            np.testing.assert_array_equal(getattr(frame, name), getattr(found, name))
        np.testing.assert_array_equal(frame.boxes, boxes)

    @pytest.mark.parametrize(("name", "image_id"), [("", "refined"), ("b_7.jpg", "b_7.jpg"), ("000000000139.jpg", 139)])
    def test_coco_results(self, name: str, image_id: str | int, image: Image, tmp_path: Path) -> None:
        """Read again, also by name where the image's name is no number."""
        refiner, given = PoseRefiner.load("demo", "cpu", flip=False, margin=50), FRAME.in_skeleton(COCO17)
        PIL.Image.fromarray(image).save(tmp_path / (name or "other.png"))
        picture: Any = tmp_path / name if name else image
        found = refiner(picture, given.keypoints, skeleton="coco17", scores=given.scores, objective="rescore")
        found.save(str(tmp_path / "refined.json"))
        own = get_format("auto", location=str(tmp_path / "refined.json"))
        assert own.name == ("coco" if isinstance(image_id, int) else "alphapose")
        ((frame,),) = (sequence.frames for sequence in own.read(tmp_path / "refined.json"))
        assert frame.image == (name or "refined")
        assert frame.skeleton == COCO17
        is_there = np.isfinite(found.keypoints).all(axis=-1)
        np.testing.assert_allclose(frame.keypoints[is_there], found.keypoints[is_there], atol=0.01)
        assert np.isnan(frame.poses[~is_there]).all()
        has_score = is_there & np.isfinite(found.scores)
        np.testing.assert_allclose(frame.scores[has_score], found.scores[has_score], atol=1e-3)

    @pytest.mark.parametrize("name", ["refined.txt", "refined", "refined.JPG"])
    def test_other_endings(self, name: str, refiner: PoseRefiner, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=rf"{name}: expected a name that ends with .json or .npz$"):
            refine(refiner).save(tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    def test_no_folder(self, refiner: PoseRefiner, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for name in ("a.json", "a.npz"):
            with pytest.raises(UserError, match=name):
                refine(refiner).save(tmp_path / "file" / name)

    def test_nobody(self, refiner: PoseRefiner, image: Image, tmp_path: Path) -> None:
        found = refiner(image, [])
        assert (len(found), repr(found)) == (0, "RefinedPoses(0 x 15 keypoints)")
        np.testing.assert_array_equal(found.plot(image), image)
        for name in ("a.json", "a.npz"):
            found.save(tmp_path / name)
        assert (tmp_path / "a.json").read_text().strip() == "[]"
        assert get_format("npz").read(tmp_path / "a.npz")[0].people == 0


def test_representations(refiner: PoseRefiner) -> None:
    keypoints = FRAME.keypoints[:3].copy()
    keypoints[1] = np.nan
    found = refiner(PICTURE, keypoints, skeleton="posetrack18")
    assert repr(found) == "RefinedPoses(3 x 17 keypoints: 2 refined, 1 no keypoint to start from)"
    assert found.outcomes[1] is Outcome.NO_KEYPOINTS
    expected = (
        "PoseRefiner(posetrack15, device='cpu', precision='fp32', flip=False, scale='auto', iterations=1, margin=50)"
    )
    assert repr(refiner) == expected
    assert hpr.RefinedPoses is RefinedPoses
