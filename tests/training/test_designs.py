"""Designs: other drawings of the estimate and other ways to read poses off, from training to refining."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from dots import batch, examples
from numpy.typing import NDArray

from hpr import PoseRefiner, weights
from hpr.crops import Crop
from hpr.design import PUBLISHED, DecoderKind, Design, DesignChoice, InputKind
from hpr.errors import UserError
from hpr.heatmaps import (
    DISC_VALUE,
    GAUSSIAN_SIGMA,
    OFFSET_UNIT,
    decode,
    draw_discs,
    draw_gaussians,
    integrated,
    network_input,
    rectangles,
    targets,
)
from hpr.inference.batching import PersonCrop, collate
from hpr.inference.engine import RefinedPose
from hpr.models.backbones.resnet import ResNet
from hpr.models.export import export
from hpr.models.loading import load_network, start_network, weights_of
from hpr.models.losses import refinement_losses
from hpr.models.network import Refiner, input_means
from hpr.models.places import place_losses
from hpr.runtime.processes import ALONE
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.training.examples import prepare
from hpr.training.input_means import measure_input_means
from hpr.training.loop import Settings, Trainer
from hpr.training.runs import save_weights
from hpr.training.schedules import WarmUpCosine
from hpr.weights.resnets import ResNetShape

CPU = torch.device("cpu")
DESIGNS = [
    PUBLISHED,
    Design(decoder="votes"),
    Design(decoder="soft_argmax"),
    Design(input="confident_discs"),
    Design("gaussians", "integral"),
]
ALL = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: f"{design.input}-{design.decoder}")


def network_of(design: Design, skeleton: Skeleton = POSETRACK15) -> Refiner:
    """A small refiner of a design, with lively batch norms."""
    torch.manual_seed(0)
    network = Refiner(partial(ResNet, shape=ResNetShape((1, 2, 2, 1), width=8)), skeleton, design=design).eval()
    network.backbone.load_state_dict(small_network(skeleton).backbone.state_dict())
    return network


def person(height: int, width: int, key: int) -> PersonCrop:
    random = np.random.default_rng((key, height, width))
    keypoints = random.uniform(0, 1, (15, 2)) * [width, height]
    keypoints[random.random(15) < 0.2] = np.nan
    scores = random.uniform(0, 1, 15)
    scores[random.random(15) < 0.2] = np.nan
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PersonCrop(key, Crop(1.0, (width, height), (0, 0, width, height)), pixels, keypoints, scores)


def refined(engine: PoseRefiner, people: Sequence[PersonCrop]) -> list[RefinedPose]:
    results = {result.key: result for result in engine.refine(people)}
    poses = [results[key] for key in range(len(people))]
    return [pose for pose in poses if isinstance(pose, RefinedPose)]


class TestDrawing:
    def test_nobody(self) -> None:
        assert draw_gaussians(torch.zeros(0, 15, 2, dtype=torch.float64), 8, 9).shape == (0, 15, 8, 9)
        assert draw_discs(torch.zeros(0, 15, 2, dtype=torch.float64), 8, 9, torch.zeros(0, 15)).shape == (0, 15, 8, 9)

    @pytest.mark.parametrize(
        ("score", "value"),
        [(1.0, 255), (0.5, 128), (0.0, 1), (math.nan, 255), (1.7, 255), (-3.0, 1), (math.inf, 255), (0.001, 1)],
    )
    def test_a_disc_is_as_bright_as_the_score(self, score: float, value: int) -> None:
        place = torch.tensor([[[20.3, 30.8]]], dtype=torch.float64)
        found = draw_discs(place, 50, 60, torch.tensor([[score]], dtype=torch.float64))
        assert torch.equal(found > 0, draw_discs(place, 50, 60) > 0)
        assert torch.unique(found).tolist() == [0, value]

    @pytest.mark.parametrize("place", [(20.0, 30.0), (20.3, 30.8), (-5.0, 10.0), (math.nan, 10.0), (300.0, 10.0)])
    def test_gaussians(self, place: tuple[float, float]) -> None:
        found = draw_gaussians(torch.tensor([[place]], dtype=torch.float64), 50, 60)[0, 0].double()
        rows, columns = torch.meshgrid(torch.arange(50.0), torch.arange(60.0), indexing="ij")
        squared = (columns - place[0]) ** 2 + (rows - place[1]) ** 2
        expected = (DISC_VALUE * (-squared / (2 * GAUSSIAN_SIGMA**2)).exp()).nan_to_num(0.0)
        torch.testing.assert_close(found, expected.double(), rtol=0, atol=0.51)

    def test_the_kind_decides(self) -> None:
        pixels = torch.zeros(1, 50, 60, 3, dtype=torch.uint8)
        place, score = torch.tensor([[[20.0, 30.0]]], dtype=torch.float64), torch.tensor([[0.5]])
        kinds: list[InputKind] = ["discs", "confident_discs", "gaussians"]
        maps = [network_input(pixels, place, kind, score)[:, 3:] for kind in kinds]
        assert torch.equal(maps[0], draw_discs(place, 50, 60))
        assert torch.equal(maps[1], draw_discs(place, 50, 60, score))
        assert torch.equal(maps[2], draw_gaussians(place, 50, 60))


class TestDecoding:
    def maps(self, place: tuple[float, float], spread: float = 6.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns probabilities (1, 1, 8, 10) that fall off around a place, and offsets (1, 2, 8, 10) to it."""
        grid = torch.stack(torch.meshgrid(torch.arange(10) * 8 + 4.0, torch.arange(8) * 8 + 4.0, indexing="xy"))
        offsets = torch.tensor(place)[:, None, None] - grid  # (2, 8, 10)
        parts = (-offsets.square().sum(dim=0) / (2 * spread**2)).exp()
        return parts[None, None], offsets[None] / OFFSET_UNIT

    @pytest.mark.parametrize("decoder", ["offsets", "votes", "soft_argmax", "integral"])
    def test_nobody(self, decoder: DecoderKind) -> None:
        second = torch.zeros(0, 15 if decoder == "integral" else 30, 8, 10)
        keypoints, confidence = decode(torch.zeros(0, 15, 8, 10), second, decoder)
        assert keypoints.shape == (0, 15, 2)
        assert confidence.shape == (0, 15)

    @pytest.mark.parametrize(("decoder", "error"), [("offsets", 1e-4), ("votes", 1e-4), ("soft_argmax", 0.3)])
    @pytest.mark.parametrize("place", [(37.0, 29.0), (40.0, 32.0), (36.0, 36.0)])
    def test_a_clear_keypoint(self, decoder: DecoderKind, error: float, place: tuple[float, float]) -> None:
        parts, offsets = self.maps(place)
        keypoints, confidence = decode(parts, offsets, decoder)
        assert keypoints.dtype == torch.float64
        assert (keypoints[0, 0] - torch.tensor(place)).abs().max() <= error
        assert confidence.item() == parts.max().item()

    def test_votes_are_a_mean(self) -> None:
        """Where the best cell alone is wrong, those about it outvote it."""
        parts, offsets = self.maps((36.0, 36.0))
        offsets[0, :, 4, 4] += 3 / OFFSET_UNIT
        best, _ = decode(parts, offsets, "offsets")
        mean, _ = decode(parts, offsets, "votes")
        torch.testing.assert_close(best[0, 0], torch.tensor([39.0, 39.0], dtype=torch.float64))
        assert (mean[0, 0] - 36).abs().max() < 1.5

    @pytest.mark.parametrize("decoder", ["votes", "soft_argmax"])
    def test_what_is_far_or_beyond_the_border_has_no_vote(self, decoder: DecoderKind) -> None:
        parts, offsets = torch.zeros(1, 1, 8, 10), torch.zeros(1, 2, 8, 10)
        parts[0, 0, 2, 3], parts[0, 0, 2, 9], parts[0, 0, 3:] = 0.9, 0.8, -1.0
        keypoints, _ = decode(parts, offsets, decoder)
        assert keypoints[0, 0].tolist() == [28.0, 20.0]

    @pytest.mark.parametrize("decoder", ["votes", "soft_argmax"])
    def test_where_nothing_is_likely_the_first_cell_stands(self, decoder: DecoderKind) -> None:
        keypoints, confidence = decode(torch.zeros(1, 1, 8, 10), torch.zeros(1, 2, 8, 10), decoder)
        assert keypoints[0, 0].tolist() == [4.0, 4.0]
        assert confidence.item() == 0

    def test_the_mean_place(self) -> None:
        logits = torch.full((1, 1, 8, 10), -100.0)
        logits[0, 0, 2, 3], logits[0, 0, 4, 3] = 0.0, math.log(3)
        assert integrated(logits)[0, 0].tolist() == pytest.approx([28.0, 0.25 * 20 + 0.75 * 36])
        parts = torch.full((1, 1, 8, 10), 0.1)
        parts[0, 0, 4:] = -1.0  # beyond the border
        keypoints, _ = decode(parts, logits, "integral")
        assert keypoints[0, 0].tolist() == pytest.approx([28.0, 20.0])


class TestPlaceLosses:
    PLACES = torch.tensor([[[33.3, 21.7], [math.nan] * 2, [79.0, 2.0]], [[10.0, 10.0], [20.0, 30.0], [0.5, 60.0]]])

    def cells(self) -> torch.Tensor:
        return rectangles(torch.tensor([[8, 10], [8, 6]]), 8, 10)

    def test_nobody(self) -> None:
        none = targets(torch.zeros(0, 3, 2, dtype=torch.float64), self.cells()[:0])
        assert place_losses(torch.zeros(0, 3, 8, 10), none).shape == (0, 3)

    def test_the_least_is_at_the_truth(self) -> None:
        own = targets(self.PLACES.double(), self.cells())
        logits = torch.zeros(2, 3, 8, 10, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        before = place_losses(logits, own).sum().item()
        for _ in range(150):
            optimizer.zero_grad()
            loss = place_losses(logits, own).sum()
            torch.autograd.backward(loss)
            optimizer.step()
        assert loss.item() < 0.3 * before
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert not logits.grad[0, 1].any()  # there is no such keypoint
        assert not logits.grad[1, :, :, 6:].any()  # beyond the crop's border
        found = integrated(logits.detach().masked_fill(~self.cells(), -torch.inf))
        inside = [(0, 0), (1, 0), (1, 1)]  # the others are closer to the border than the last cells' centres
        for crop, keypoint in inside:
            torch.testing.assert_close(found[crop, keypoint].float(), self.PLACES[crop, keypoint], rtol=0, atol=0.3)

    def test_by_hand(self) -> None:
        """Equal logits: the cross-entropy is the logarithm of the number of cells, the mean place the middle."""
        own = targets(torch.tensor([[[28.0, 20.0]]], dtype=torch.float64), self.cells()[:1])
        entries = own.offset_mask.sum()
        expected = math.log(80) + abs(3 - 4.5) + abs(2 - 3.5)
        assert place_losses(torch.zeros(1, 1, 8, 10), own).item() == pytest.approx(float(entries) * expected, rel=1e-5)
        losses = refinement_losses(torch.zeros(1, 1, 8, 10), torch.zeros(1, 1, 8, 10), own)
        assert losses.offset.item() == pytest.approx(0.05 * expected, rel=1e-5)


class TestEngine:
    @ALL
    @pytest.mark.parametrize("flip", [False, True])
    def test_padding_changes_nothing(self, design: Design, flip: bool) -> None:
        network = network_of(design)
        alone, together = (PoseRefiner(network, "cpu", batch_pixels=n, flip=flip, iterations=2) for n in (0, 10**9))
        people = [person(32 + 7 * i, 63 - 5 * i, i) for i in range(6)]
        for one, other in zip(refined(alone, people), refined(together, people), strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=0, atol=0.005)
            np.testing.assert_allclose(one.confidence, other.confidence, rtol=0, atol=1e-5)

    @ALL
    def test_scores_matter_to_those_who_look(self, design: Design) -> None:
        engine, own = PoseRefiner(network_of(design), "cpu"), person(60, 50, 0)
        (first,) = refined(engine, [own])
        (other,) = refined(engine, [replace(own, scores=np.full(15, 0.1))])
        assert (first.confidence != other.confidence).any() == (design.input == "confident_discs")
        (without,) = refined(engine, [replace(own, scores=None)])
        (sure,) = refined(engine, [replace(own, scores=np.ones(15))])
        np.testing.assert_array_equal(without.confidence, sure.confidence)

    def test_scores_by_the_call(self) -> None:
        engine = PoseRefiner(network_of(Design(input="confident_discs")), "cpu")
        image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        poses = np.random.default_rng(1).uniform(0, 1, (2, 15, 2)) * [160, 120]
        scores = np.full((2, 15), 0.2)
        plain, faint = engine(image, poses), engine(image, poses, scores=scores)
        (several,) = engine([image], [poses], scores=[scores])
        assert not np.array_equal(plain.confidence, faint.confidence)
        np.testing.assert_array_equal(several.confidence, faint.confidence)
        with pytest.raises(ValueError, match=r"scores: expected shape \(2, 15\), found \(15, 2\)"):
            engine(image, poses, scores=scores.T)

    def test_the_mean_place_of_a_crop_and_its_mirror_image(self) -> None:
        """Who looks at a mirrored crop finds the mirrored pose."""
        network = network_of(Design("gaussians", "integral"))
        engine, own = PoseRefiner(network, "cpu"), person(64, 48, 0)
        turned = own.keypoints[list(POSETRACK15.mirror)] * [-1, 1] + [47, 0]
        mirrored = replace(own, pixels=np.ascontiguousarray(own.pixels[:, ::-1]), keypoints=turned)
        (one,), (other,) = refined(engine, [own]), refined(engine, [mirrored])
        expected = one.keypoints[list(POSETRACK15.mirror)] * [-1, 1] + [47, 0]
        np.testing.assert_allclose(other.keypoints, expected, rtol=0, atol=1e-3)

    def test_collated_maps(self) -> None:
        people = [person(64, 48, 0), replace(person(64, 48, 1), scores=None)]
        crops = collate(people, network_of(Design(input="confident_discs")), CPU)
        values = [set(torch.unique(own).tolist()) for own in crops.tensors[:, 3:]]
        assert values[1] <= {0, 255}
        assert len(values[0]) > 5


SETTINGS = Settings(
    steps=2,
    batch_size=2,
    accumulate=1,
    batch_norm="live",
    precision="fp32",
    max_gradient_norm=1.0,
    ema=0.5,
    workers=0,
    validate_every=2,
    checkpoint_every=2,
    log_every=1,
)


class TestWeights:
    @ALL
    def test_trained_saved_and_refined(self, design: Design, tmp_path: Path) -> None:
        """By what the file says alone."""
        network = start_network("demo", POSETRACK15, None, DesignChoice(design.input, design.decoder))
        assert network.design == design
        before = network.part_head.weight.detach().clone(), network.offset_head.weight.detach().clone()
        measure_input_means(network, examples())
        trainer = Trainer(network, partial(torch.optim.AdamW, lr=0.01), WarmUpCosine(0.01, 1), SETTINGS, CPU, ALONE)
        for step in range(2):
            losses, _ = trainer.step([batch(2 * step, 2 * step + 2)])
            assert torch.isfinite(losses.total)
        assert not torch.equal(network.part_head.weight, before[0])
        assert not torch.equal(network.offset_head.weight, before[1])

        path = tmp_path / "a.safetensors"
        save_weights(path, trainer.averaged, "test", 2, "demo")
        loaded = load_network(path)
        assert loaded.design == design
        assert torch.equal(loaded.input_mean, network.input_mean)
        people = [person(60, 50, 0)]
        (found,), (expected,) = (refined(PoseRefiner(own, "cpu"), people) for own in (loaded, trainer.averaged))
        np.testing.assert_allclose(found.keypoints, expected.keypoints, rtol=0, atol=1e-3)
        further = start_network("demo", POSETRACK15, path)
        assert further.design == design
        assert torch.equal(further.input_mean, network.input_mean)

    @ALL
    def test_what_the_file_says(self, design: Design, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_weights(path, network_of(design), "test", 2, "demo")
        _, provenance = weights.load(path)
        assert provenance.checked_design(path) == design
        published = {"input": "discs", "decoder": "offsets"}
        said = {"input": design.input, "decoder": design.decoder}
        metadata = provenance.metadata()
        assert {name: metadata.get(name) for name in said} == {
            name: None if value == published[name] else value for name, value in said.items()
        }

    def test_poses_may_be_read_off_in_another_way(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_weights(path, start_network("demo", POSETRACK15, None), "test", 2, "demo")
        assert load_network(path, design=DesignChoice(decoder="votes")).design == Design(decoder="votes")
        assert start_network("demo", POSETRACK15, path, DesignChoice(decoder="votes")).design == Design(decoder="votes")
        for choice in (DesignChoice(decoder="integral"), DesignChoice(input="gaussians")):
            with pytest.raises(UserError, match=r"expected weights of input=.* found input=discs and decoder=offsets"):
                load_network(path, design=choice)

    @pytest.mark.parametrize(("name", "value"), [("input", "dots"), ("decoder", "")])
    def test_an_unknown_design(self, name: str, value: str, tmp_path: Path) -> None:
        network = start_network("demo", POSETRACK15, None)
        provenance = replace(weights.Provenance.of_refiner("test", "1", "demo", POSETRACK15), **{name: value})
        weights.save(tmp_path / "a.safetensors", weights_of(network), provenance)
        with pytest.raises(UserError, match=f"expected {name} .* or .*, found '{value}'"):
            load_network(tmp_path / "a.safetensors")

    def test_other_designs_are_not_exported(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="of input=discs and decoder=offsets, found discs and votes"):
            export(network_of(Design(decoder="votes")), tmp_path / "a.onnx")
        assert list(tmp_path.iterdir()) == []


class TestInputMeans:
    def test_published_ones_stay(self) -> None:
        network = network_of(PUBLISHED)
        before = network.input_mean.clone()
        measure_input_means(network, examples())
        assert torch.equal(network.input_mean, before)
        assert "input_mean" not in weights_of(network)

    @pytest.mark.parametrize(
        ("design", "skeleton"),
        [(PUBLISHED, COCO17), (Design(input="confident_discs"), POSETRACK15), (Design(input="gaussians"), COCO17)],
        ids=["another skeleton", "scores", "gaussians"],
    )
    def test_the_maps_are_zero_on_average(self, design: Design, skeleton: Skeleton) -> None:
        """Those of the examples that the training begins with; published means stay as they are."""
        network, source = network_of(design, skeleton), examples(skeleton=skeleton)
        published = torch.tensor(input_means(skeleton))
        places = list(network.unmeasured)
        measure_input_means(network, source)
        assert network.unmeasured == []
        known = [place for place in range(len(skeleton)) if place not in places]
        mean = network.input_mean.flatten()
        assert torch.equal(mean[:3], published[:3])
        assert torch.equal(mean[3:][known], published[3:][known])

        crops, _ = prepare(batch(0, 32, source), network, CPU)
        valid = crops.valid().double()
        each = (crops.tensors[:, 3:] * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3))  # (B, K)
        torch.testing.assert_close(mean[3:][places].double(), each.mean(dim=0)[places], rtol=1e-5, atol=1e-5)
        assert mean[3:][places].min() > 1  # of discs on crops that are much smaller than published

    def test_they_are_kept_in_the_file_and_not_measured_again(self, tmp_path: Path) -> None:
        network = start_network("demo", COCO17, None)
        measure_input_means(network, examples(skeleton=COCO17))
        path = tmp_path / "a.safetensors"
        save_weights(path, network, "test", 1, "demo")
        for loaded in (load_network(path), start_network("demo", COCO17, path)):
            assert torch.equal(loaded.input_mean, network.input_mean)
            measure_input_means(loaded, examples(skeleton=COCO17, chance=0.9))
            assert torch.equal(loaded.input_mean, network.input_mean)

    def test_older_files_have_the_means_that_they_were_trained_with(self, tmp_path: Path) -> None:
        network = start_network("demo", COCO17, None)
        provenance = weights.Provenance.of_refiner("test", "1", "demo", COCO17)
        tensors = weights_of(network)
        assert "input_mean" not in tensors
        weights.save(tmp_path / "a.safetensors", tensors, provenance)
        loaded = start_network("demo", COCO17, tmp_path / "a.safetensors")
        measure_input_means(loaded, examples(skeleton=COCO17))
        assert torch.equal(loaded.input_mean, network.input_mean)

    @pytest.mark.parametrize(
        ("mean", "problem"),
        [
            (np.zeros(19, np.float32), r"input_mean: expected shape \(20,\), found \(19,\)"),
            (np.full(20, np.nan, np.float32), "input_mean: expected trained weights, found 20 numbers that are not"),
            (np.zeros(20, np.int64), "input_mean: expected trained weights, found numbers of type int64"),
        ],
        ids=["shape", "nan", "type"],
    )
    def test_odd_ones_are_refused(self, mean: NDArray[Any], problem: str, tmp_path: Path) -> None:
        tensors = {**weights_of(start_network("demo", COCO17, None)), "input_mean": mean}
        weights.save(tmp_path / "a.safetensors", tensors, weights.Provenance.of_refiner("test", "1", "demo", COCO17))
        with pytest.raises(UserError, match=problem):
            load_network(tmp_path / "a.safetensors")


class TestExamples:
    def test_scores_go_with_the_keypoints(self) -> None:
        source = examples()
        for index in range(8):
            example = source[index]
            assert example.scores is not None
            assert example.scores.shape == (15,)
            assert ((example.scores > 0) == ~np.isnan(example.estimate[:, 0])).all()
            np.testing.assert_array_equal(example.scores, source[index].scores)
