"""Training examples: pixels, truth and estimate stay together, whatever is changed."""

import numpy as np
import pytest
import torch
from conftest import small_network
from dots import CANVAS, EVERYTHING, QUIET, DotPeople, PosesOnly, SizedPerson, batch, dot_colours, examples

from hpr import heatmaps
from hpr.crops import Crop
from hpr.errors import UserError
from hpr.heatmaps import mirror_pose
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton
from hpr.training.examples import Augmentation, prepare

CPU = torch.device("cpu")


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_the_same_index_gives_the_same(skeleton: Skeleton) -> None:
    first, second = (examples(skeleton=skeleton)[7] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.pixels, examples(skeleton=skeleton)[8].pixels)
    assert first.truth.shape == first.estimate.shape == (len(skeleton), 2)


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
@pytest.mark.parametrize("index", range(12))
def test_truth_stays_on_its_pixels(index: int, skeleton: Skeleton) -> None:
    """Through scaling, cutting, shifting and mirroring."""
    plain = Augmentation(scale=(0.9, 1.4), shift=20.0, mirror=0.5, colour=0.0, occlusion=0.0)
    example = examples(plain, canvas=(400, 400), skeleton=skeleton)[index]
    height, width = example.size
    checked = 0
    for number, (x, y) in enumerate(np.round(example.truth).astype(int)):
        if 0 <= x < width and 0 <= y < height:
            distance = np.abs(example.pixels[y, x].astype(int) - dot_colours(skeleton)).sum(axis=1)
            assert distance.argmin() in (number, skeleton.mirror[number])
            checked += 1
    assert checked >= 4


def test_a_person_larger_than_the_canvas_is_cut_and_a_smaller_one_padded() -> None:
    big = examples(QUIET, SizedPerson(400), chance=0.0)[0]
    assert big.size.tolist() == list(CANVAS)
    small = examples(QUIET, SizedPerson(40), chance=0.0, canvas=(400, 400))[0]
    assert small.size[0] < 400
    assert not small.pixels[small.size[0] :].any()


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17, MPII16])
def test_mirroring_twice_is_nothing(skeleton: Skeleton) -> None:
    pose = np.random.default_rng(0).uniform(0, 50, (len(skeleton), 2))
    pose[3] = np.nan
    mirrored = mirror_pose(pose, 50, skeleton)
    np.testing.assert_allclose(mirror_pose(mirrored, 50, skeleton), pose)
    discs = heatmaps.draw_discs(torch.from_numpy(pose)[None], 40, 50)
    flipped = heatmaps.draw_discs(torch.from_numpy(mirrored)[None], 40, 50)
    assert torch.equal(heatmaps.swap_sides(discs.flip(-1), skeleton), flipped)


def test_occluded_keypoints_are_not_to_be_found() -> None:
    hiding = Augmentation(scale=(1.0, 1.0), shift=0.0, mirror=0.0, colour=0.0, occlusion=1.0)
    lost = 0
    for index in range(20):
        before, after = examples(QUIET)[index], examples(hiding)[index]
        changed = (before.pixels != after.pixels).any(axis=2)
        hidden = np.isnan(after.truth[:, 0])
        lost += hidden.sum()
        for x, y in before.truth[hidden].astype(int):
            if 0 <= x < CANVAS[1] and 0 <= y < CANVAS[0]:
                assert changed[y, x]
    assert lost > 5


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_prepared_batch_masks_the_border(skeleton: Skeleton) -> None:
    people = SizedPerson(40)
    made = batch(0, 3, examples(QUIET, people, chance=0.0, canvas=(400, 400), skeleton=skeleton))
    network = small_network(skeleton)
    crops, targets = prepare(made, network, CPU)
    assert crops.tensors.shape == (3, 3 + len(skeleton), 400, 400)
    assert targets.parts.shape == (3, len(skeleton), 50, 50)
    assert crops.is_padded
    assert not crops.masks_layers
    for i, (height, width) in enumerate(made.size.tolist()):
        valid = crops.valid()[i]
        assert valid[0, :height, :width].all()
        assert valid.sum() == height * width
        assert targets.cells[i, 0].sum() == network.heatmap_size(height) * network.heatmap_size(width)


def test_prepared_batch_without_a_border() -> None:
    crops, targets = prepare(batch(0, 2, examples(QUIET, SizedPerson(400), chance=0.0)), small_network(), CPU)
    assert not crops.is_padded
    assert targets.cells.all()


def test_crop_windows_stay_within_the_crop() -> None:
    maker = examples()
    crop = Crop(1.0, (1000, 1000), (100, 200, 900, 230))
    for seed in range(50):
        pose = np.random.default_rng(seed).uniform(-300, 1200, (15, 2))
        window = maker._window(crop, pose, np.random.default_rng(seed))
        assert 100 <= window.box[0] < window.box[2] <= 900
        assert (window.box[1], window.box[3]) == (200, 230)
        assert window.width == CANVAS[1]


class TestOtherSkeletons:
    """People of one skeleton, a network of another."""

    @pytest.mark.parametrize(("skeleton", "known"), [(POSETRACK15, 15), (POSETRACK18, 15), (COCO17, 13), (MPII16, 14)])
    def test_keypoints_go_by_name(self, skeleton: Skeleton, known: int) -> None:
        example = examples(QUIET, DotPeople(), chance=0.0, canvas=(400, 400), skeleton=skeleton)[0]
        present = ~np.isnan(example.truth[:, 0])
        assert present.sum() == known
        assert {name for name, is_there in zip(skeleton.names, present, strict=True) if is_there} == {
            name for name in skeleton.names if name in POSETRACK15
        }
        for place in np.flatnonzero(present):
            x, y = np.round(example.truth[place]).astype(int)
            colours = np.array(dot_colours(POSETRACK15))
            distance = np.abs(example.pixels[y, x].astype(int) - colours).sum(axis=1)
            assert POSETRACK15.names[distance.argmin()] == skeleton.names[place]

    def test_people_without_a_keypoint_of_the_network_are_passed_over(self) -> None:
        poses = np.full((2, 15, 2), np.nan)
        poses[0, POSETRACK15.index("head_top")] = poses[1, POSETRACK15.index("nose")] = 50.0
        people = PosesOnly(poses, POSETRACK15)
        for index in range(4):
            truth = examples(QUIET, people, chance=0.0, skeleton=COCO17)[index].truth
            assert np.flatnonzero(~np.isnan(truth[:, 0])).tolist() == [COCO17.index("nose")]

    def test_nobody_has_a_keypoint_of_the_network(self) -> None:
        poses = np.full((1, 15, 2), np.nan)
        poses[0, POSETRACK15.index("head_top")] = 50.0
        with pytest.raises(UserError, match="expected people with keypoints of coco17, found 1000 in a row without"):
            examples(EVERYTHING, PosesOnly(poses, POSETRACK15), skeleton=COCO17)[0]
