"""Training examples: pixels, truth and estimate stay together, whatever is changed."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import lively, pose_errors, small_network
from dots import CANVAS, EVERYTHING, QUIET, DotPeople, PosesOnly, batch, dot_at, examples, only, pixels_of, sized_person

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.models.losses import refinement_losses
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton
from hpr.training.augmentation import Augmentation
from hpr.training.dataset import AnnotatedPeople, AnnotatedPerson
from hpr.training.examples import Example, Examples, prepare
from hpr.training.loop import BatchNormMode, set_mode

CPU = torch.device("cpu")
COMMON: dict[str, Any] = {"mirror": 0.5, "colour": 0.2, "occlusion": 0.5, "truncation": 0.3}
CHANGING = only(**COMMON, scale=(0.85, 1.15), shift=20.0, rotation=30.0, exact=0.2, nearly_exact=0.2)
SHRINKING = only(**COMMON, scale=(0.5, 0.6), shift=5.0, rotation=20.0)


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_the_same_index_gives_the_same(skeleton: Skeleton) -> None:
    first, second = (examples(skeleton=skeleton)[7] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.pixels, examples(skeleton=skeleton)[8].pixels)
    assert first.truth.shape == first.estimate.shape == (len(skeleton), 2)


@pytest.mark.parametrize(("skeleton", "rotation"), [(POSETRACK15, 0.0), (POSETRACK15, 30.0), (COCO17, 0.0)])
def test_truth_stays_on_its_pixels(skeleton: Skeleton, rotation: float) -> None:
    """Through rotating, scaling, cutting, shifting and mirroring."""
    augmentation = only(scale=(0.9, 1.4), shift=20.0, mirror=0.5, rotation=rotation)
    made = examples(augmentation, canvas=(400, 400), skeleton=skeleton)
    for example in (made[index] for index in range(12)):
        last = example.size[::-1] - 1
        inside = np.flatnonzero(((example.truth >= 0) & (example.truth <= last)).all(axis=1))
        assert len(inside) >= 4
        for keypoint in inside:
            found = dot_at(example.pixels, example.truth[keypoint] + example.start[::-1], skeleton)
            assert found in (keypoint, skeleton.mirror[keypoint])


def test_occluded_keypoints_are_not_to_be_found() -> None:
    num_hidden = 0
    quiet, occluded = examples(QUIET), examples(only(occlusion=1.0))
    for before, after in ((quiet[index], occluded[index]) for index in range(20)):
        changed = (before.pixels != after.pixels).any(axis=2)
        hidden = np.isnan(after.truth[:, 0])
        num_hidden += hidden.sum()
        on_canvas = before.truth + before.start[::-1]
        for x, y in on_canvas[hidden].astype(int):
            if 0 <= x < CANVAS[1] and 0 <= y < CANVAS[0]:
                assert changed[y, x]
        assert after.labelled.all()  # they are really not to be found
    assert num_hidden > 5


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_prepared_batch_masks_the_border(skeleton: Skeleton) -> None:
    made = batch(0, 3, examples(QUIET, sized_person(40), chance=0.0, canvas=(400, 400), skeleton=skeleton))
    network = small_network(skeleton)
    crops, targets = prepare(made, network, CPU)
    assert crops.tensors.shape == (3, 3 + len(skeleton), 400, 400)
    assert targets.parts.shape == (3, len(skeleton), 50, 50)
    for i, (height, width) in enumerate(made.size.tolist()):
        valid = crops.valid()[i]
        top, left = made.start[i].tolist()
        assert valid[0, top : top + height, left : left + width].all()
        assert valid.sum() == height * width
        assert targets.cells[i, 0].sum() == network.heatmap_size(height) * network.heatmap_size(width)


class TestOtherSkeletons:
    """People of one skeleton, a network of another."""

    @pytest.mark.parametrize(("skeleton", "known"), [(POSETRACK15, 15), (POSETRACK18, 15), (COCO17, 13), (MPII16, 14)])
    def test_keypoints_go_by_name(self, skeleton: Skeleton, known: int) -> None:
        example = examples(QUIET, DotPeople(), chance=0.0, canvas=(400, 400), skeleton=skeleton)[0]
        present = np.flatnonzero(~np.isnan(example.truth[:, 0]))
        assert [skeleton.names[k] for k in present] == [name for name in skeleton.names if name in POSETRACK15]
        assert len(present) == known
        for keypoint in present:
            dot = dot_at(example.pixels, example.truth[keypoint] + example.start[::-1])
            assert POSETRACK15.names[dot] == skeleton.names[keypoint]

    def test_people_without_a_keypoint_of_the_network_are_skipped(self) -> None:
        poses = np.full((2, 15, 2), np.nan)
        poses[0, POSETRACK15.index("head_top")] = poses[1, POSETRACK15.index("nose")] = 50.0
        made = examples(QUIET, PosesOnly(poses, POSETRACK15), chance=0.0, skeleton=COCO17)
        for index in range(4):
            assert np.flatnonzero(~np.isnan(made[index].truth[:, 0])).tolist() == [COCO17.index("nose")]
        nobody = examples(EVERYTHING, PosesOnly(poses[:1], POSETRACK15), skeleton=COCO17)
        with pytest.raises(UserError, match="expected people with keypoints of coco17, found 1000 in a row without"):
            nobody[0]


class TestGoodEstimates:
    """The network has to learn to leave good poses alone."""

    @pytest.mark.parametrize("chance", [0.0, 0.4, 1.0])
    def test_exact(self, chance: float) -> None:
        source = examples(only(exact=chance), chance=0.1)
        share = np.mean([np.array_equal(source[index].estimate, source[index].truth) for index in range(60)])
        assert share == pytest.approx(chance, abs=0.15)

    def test_nearly_exact(self) -> None:
        made = batch(0, 20, examples(only(nearly_exact=1.0), chance=1.0))
        assert 0 < np.linalg.norm(made.estimate - made.truth, axis=2).max() < 15

    def test_more_than_all(self) -> None:
        with pytest.raises(UserError, match=r"expected 1 or less in all, found 0.6 and 0.5"):
            only(exact=0.6, nearly_exact=0.5)


class EstimatedPeople(DotPeople):
    """Dots whose real estimate has them all, with a score that tells which it is."""

    def person(self, index: int) -> AnnotatedPerson:
        person, numbers = super().person(index), np.arange(1, len(self.skeleton) + 1)
        return replace(person, estimates=np.column_stack([person.pose, numbers / 20])[None])


class TestRealEstimates:
    @pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
    def test_share_of_those_that_are_not_nearly_exact(self, share: float) -> None:
        made = examples(only(real=share, exact=0.2, nearly_exact=0.2), EstimatedPeople(), chance=0.5)
        found = [np.isin(made[index].scores, np.arange(21) / 20).mean() > 0.9 for index in range(150)]
        exact = [np.array_equal(made[index].estimate, made[index].truth) for index in range(150)]
        assert np.mean(found) == pytest.approx(0.6 * share, abs=0.12)
        assert np.mean(exact) > 0.1

    def test_they_move_with_the_person(self) -> None:
        """Positions and scores, through rotating, cutting, scaling, shifting and mirroring."""
        augmentation = only(real=1.0, mirror=0.5, rotation=40.0, truncation=0.3, scale=(0.9, 1.4), shift=20.0)
        made, num_seen = examples(augmentation, EstimatedPeople(), canvas=(400, 400)), 0
        for example in (made[index] for index in range(20)):
            inside = ((example.estimate >= 2) & (example.estimate <= example.size[::-1] - 3)).all(axis=1)
            for keypoint in np.flatnonzero(inside & (example.scores < 1)):
                found = dot_at(example.pixels, example.estimate[keypoint] + example.start[::-1])
                assert found == round(20 * example.scores[keypoint]) - 1
                assert found in (keypoint, POSETRACK15.mirror[keypoint])
                num_seen += 1
        assert num_seen > 100

    def test_people_without_any(self) -> None:
        for index in range(8):
            for found, expected in zip(*(examples(only(real=share))[index] for share in (1.0, 0.0)), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_false_estimates_have_no_truth() -> None:
    pose = np.random.default_rng(0).uniform(0, 30, (15, 2))
    errors = pose_errors(0.0, false_person=1.0)
    maker = Examples(PosesOnly(pose[None], POSETRACK15), errors, QUIET, (400, 400), small_network(), "published", 0)
    truths = [maker[index].truth for index in range(30)]
    assert all(np.isnan(truth).all() or not np.isnan(truth).any() for truth in truths)
    assert 0.5 < np.mean([np.isnan(truth).all() for truth in truths]) < 1  # the others fell upon the person


@pytest.mark.parametrize("index", range(12))
def test_a_truncated_pose_stays_on_its_pixels(index: int) -> None:
    whole = DotPeople().person(index)
    person = only(truncation=1.0).truncate(whole, np.random.default_rng(index))
    width, height = person.image.size
    present = np.flatnonzero(~np.isnan(person.pose[:, 0]))
    assert len(present) >= 3
    assert [dot_at(pixels_of(person.image), person.pose[keypoint]) for keypoint in present] == present.tolist()
    outside = (person.keypoints < 0).any(axis=1) | (person.keypoints > [width - 1, height - 1]).any(axis=1)
    assert np.flatnonzero(~outside).tolist() == present.tolist()  # an estimator may still look for the others
    assert (height, width) != (120, 100) or person is whole


class MaskedPeople(DotPeople):
    """Dots without labels of the right ankle and left wrist, and an ignored region around the fourth keypoint."""

    def person(self, index: int) -> AnnotatedPerson:
        person = super().person(index)
        pose, labelled = person.pose.copy(), person.labelled.copy()
        pose[[0, 11]], labelled[[0, 11]] = np.nan, False
        region = pose[3] + np.array([[-40.0, -9.0], [40.0, -9.0], [40.0, 9.0], [-40.0, 9.0]])
        return replace(person, pose=pose, labelled=labelled, ignored=(region,))


class TestMasks:
    """There is no loss for what nobody labelled, however the image is changed."""

    @pytest.mark.parametrize("augmentation", [QUIET, CHANGING])
    def test_no_gradient_where_nothing_is_known(self, augmentation: Augmentation) -> None:
        made = batch(0, 6, examples(augmentation, MaskedPeople()))
        _, targets = prepare(made, small_network(), CPU)
        logits = torch.zeros_like(targets.parts, requires_grad=True)
        offsets = torch.zeros_like(targets.offsets, requires_grad=True)
        torch.autograd.backward(refinement_losses(logits, offsets, targets).total)

        assert logits.grad is not None
        has_gradient, near = logits.grad != 0, targets.parts > 0
        assert torch.equal(has_gradient, targets.cells > 0)
        assert has_gradient[near].all()
        ignored = torch.as_tensor(made.ignored)[:, None].expand_as(near)
        assert ignored.any()
        assert not has_gradient[ignored & ~near].any()
        labelled = torch.as_tensor(made.labelled)
        assert not has_gradient[~labelled].any()
        assert (~labelled).sum(dim=1).tolist() == [2] * 6

    @pytest.mark.parametrize("mirror", [0.0, 1.0])
    def test_mirrored(self, mirror: float) -> None:
        example = examples(only(mirror=mirror), MaskedPeople(), chance=0.0)[0]
        names = ("right_ankle", "left_wrist") if mirror == 0 else ("left_ankle", "right_wrist")
        assert np.flatnonzero(~example.labelled).tolist() == sorted(POSETRACK15.indices(*names))
        inside = 3 if mirror == 0 else POSETRACK15.mirror[3]
        x, y = (example.truth[inside] // 8).astype(int)
        assert example.ignored[y, x]
        assert not example.ignored.all()

    @pytest.mark.parametrize(("is_complete", "known"), [(False, 13), (True, 17)])
    def test_keypoints_that_a_dataset_does_not_have(self, is_complete: bool, known: int) -> None:
        person = replace(DotPeople().person(0), is_complete=is_complete).in_skeleton(POSETRACK15, COCO17)
        assert person.labelled.sum() == known


@pytest.mark.parametrize("mode", ["live", "frozen"])
@pytest.mark.parametrize("side", [80, 91])
def test_padded_examples_are_seen_as_alone(side: int, mode: BatchNormMode) -> None:
    """Losses and gradients of crops on a larger canvas are those of the crops without one."""
    padded = batch(0, 3, examples(only(exact=1.0), sized_person(side), canvas=(192, 160)))
    assert (padded.size == torch.tensor([side, side])).all()
    top, left = padded.start[0].tolist()
    pixels = padded.pixels[:, top : top + side, left : left + side]
    cells = (side + 15) // 16 * 2
    alone = padded._replace(pixels=pixels, start=padded.start * 0, ignored=padded.ignored[:, :cells, :cells])

    expected, found = losses_and_gradients(alone, mode), losses_and_gradients(padded, mode)
    assert (expected[0], found[0]) == (False, True)
    assert found[1] == pytest.approx(expected[1], rel=1e-4)
    assert found[2] == pytest.approx(expected[2], rel=5e-3, abs=1e-6)


def losses_and_gradients(made: Example, mode: BatchNormMode) -> tuple[bool, list[float], dict[str, float]]:
    """Returns whether the batch is padded, both losses, and the norms of all gradients."""
    torch.manual_seed(0)
    network = lively(small_network())
    set_mode(network, mode)
    crops, targets = prepare(made, network, CPU)
    logits, offsets = network(crops)
    losses = refinement_losses(logits, offsets, targets)
    torch.autograd.backward(losses.total)
    gradients = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    return crops.is_padded, [losses.part.item(), losses.offset.item()], gradients


def test_an_example_of_photographs_alone_is_as_after_others(tmp_path: Path) -> None:
    """Their images are kept for the next person, and decoded to fewer pixels where all people are large."""
    random, frames = np.random.default_rng(0), []
    for index in range(3):
        pixels = cv2.GaussianBlur(random.integers(0, 256, (700, 900, 3), np.uint8), (0, 0), 3.0)
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), pixels)
        poses = random.uniform(0, 300, (4, 15, 2)) + random.uniform(0, 400, (4, 1, 2))
        poses[:, 14] = poses[:, 12] - [0, 98]  # a head of twice the network's size
        frames.append(Frame(f"{index}.jpg", POSETRACK15, poses, size=(900, 700)))
    annotations = tmp_path / "annotations" / "a.json"
    PoseTrack18().write([PoseSequence("photographs", frames)], annotations)

    def photographs() -> Examples:
        return examples(SHRINKING, AnnotatedPeople(PoseTrack18(), annotations.parent, ImageFolder(tmp_path), seed=0))

    others = photographs()
    in_order = [others[index] for index in range(12)]
    sent = pickle.loads(pickle.dumps(others))  # as to a worker process that is not forked
    for index in (11, 4, 5, 0):
        for made in (photographs()[index], others[index], sent[index]):
            for found, expected in zip(made, in_order[index], strict=True):
                np.testing.assert_array_equal(found, expected)
