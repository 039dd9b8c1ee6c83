"""The training loop on a few small examples."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from hpr import maps, weights
from hpr.crops import Crop
from hpr.errors import UserError
from hpr.models.architectures import MEAN_HEAD, Architecture
from hpr.models.loading import start_network
from hpr.models.refiner import Refiner
from hpr.poses import FloatArray
from hpr.processes import Processes
from hpr.skeleton import MIRROR
from hpr.training.examples import Augmentation, Example, Examples, mirrored, prepare
from hpr.training.loop import Settings, Trainer, train
from hpr.training.pose_errors import JOINT_KINDS, PoseErrors
from hpr.training.runs import start_folder
from hpr.training.schedules import Steps, WarmUpCosine

CANVAS = (96, 80)
CPU = torch.device("cpu")
ALONE = Processes(rank=0, count=1, local_rank=0)
QUIET = Augmentation(scale=(1.0, 1.0), shift=0.0, mirror=0.0, colour=0.0, occlusion=0.0)
EVERYTHING = Augmentation(scale=(0.85, 1.15), shift=20.0, mirror=0.5, colour=0.2, occlusion=0.5)


class DotPeople:
    """People of 15 dots, each of its own colour."""

    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        random = np.random.default_rng(index)
        image = np.full((120, 100, 3), 40, np.uint8)
        cells = random.permutation(20)[:15]
        joints = np.column_stack([12 + 24 * (cells % 4), 12 + 22 * (cells // 4)]).astype(float)
        for number, (x, y) in enumerate(joints.astype(int)):
            image[y - 6 : y + 7, x - 6 : x + 7] = (10 + 16 * number, 255 - 16 * number, 128)
        return image, joints, np.empty((0, 15, 2))


def pose_errors(chance: float = 0.1) -> PoseErrors:
    table = dict.fromkeys(JOINT_KINDS, chance)
    return PoseErrors(table, table, table, table, table, shift=0.0, crowded_swap=1.0, few_joints_miss=1.0)


def examples(augmentation: Augmentation = EVERYTHING) -> Examples:
    return Examples(DotPeople(), pose_errors(), augmentation, CANVAS, mean_head=MEAN_HEAD, seed=0)


def settings(**changes: Any) -> Settings:
    defaults = {"steps": 4, "batch_size": 4, "accumulate": 1, "batch_norm": "live", "precision": "fp32"}
    defaults |= {"max_gradient_norm": 1.0, "ema": 0.9, "workers": 0}
    defaults |= {"validate_every": 100, "checkpoint_every": 100, "log_every": 1}
    return Settings(**{**defaults, **changes})


def trainer(processes: Processes = ALONE, optimizer: Any = None, rate: float = 0.01, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    make = optimizer or partial(torch.optim.AdamW, lr=0.0)
    return Trainer(small_network(), make, WarmUpCosine(rate, 2), settings(**changes), CPU, processes)


def batch(start: int, stop: int, source: Dataset[Example] | None = None) -> Example:
    made: Example = torch.utils.data.default_collate([(source or examples())[i] for i in range(start, stop)])
    return made


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestExamples:
    def test_the_same_index_gives_the_same(self) -> None:
        first, second = examples()[7], examples()[7]
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(first.pixels, examples()[8].pixels)

    @pytest.mark.parametrize("index", range(12))
    def test_truth_stays_on_its_pixels(self, index: int) -> None:
        """Through scaling, cutting, shifting and mirroring."""
        plain = Augmentation(scale=(0.9, 1.4), shift=20.0, mirror=0.5, colour=0.0, occlusion=0.0)
        example = Examples(DotPeople(), pose_errors(), plain, (400, 400), mean_head=MEAN_HEAD, seed=0)[index]
        height, width = example.size
        checked = 0
        for number, (x, y) in enumerate(np.round(example.truth).astype(int)):
            if 0 <= x < width and 0 <= y < height:
                colours = [(10 + 16 * n, 255 - 16 * n, 128) for n in range(15)]
                distance = np.abs(example.pixels[y, x].astype(int) - colours).sum(axis=1)
                assert distance.argmin() in (number, MIRROR[number])
                checked += 1
        assert checked >= 4

    def test_a_person_larger_than_the_canvas_is_cut_and_a_smaller_one_padded(self) -> None:
        big = Examples(_Sized(400), pose_errors(0.0), QUIET, CANVAS, mean_head=MEAN_HEAD, seed=0)[0]
        assert big.size.tolist() == list(CANVAS)
        small = Examples(_Sized(40), pose_errors(0.0), QUIET, (400, 400), mean_head=MEAN_HEAD, seed=0)[0]
        assert small.size[0] < 400
        assert not small.pixels[small.size[0] :].any()

    def test_mirroring_twice_is_nothing(self) -> None:
        joints = np.random.default_rng(0).uniform(0, 50, (15, 2))
        joints[3] = np.nan
        np.testing.assert_allclose(mirrored(mirrored(joints, 50), 50), joints)
        discs = maps.draw(torch.from_numpy(joints)[None], 40, 50)
        flipped = maps.draw(torch.from_numpy(mirrored(joints, 50))[None], 40, 50)
        assert torch.equal(maps.mirror(discs), flipped)

    def test_occluded_joints_are_not_to_be_found(self) -> None:
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

    def test_prepared_batch_masks_the_border(self) -> None:
        made = batch(0, 3, Examples(_Sized(40), pose_errors(0.0), QUIET, (400, 400), mean_head=MEAN_HEAD, seed=0))
        inputs, image, targets = prepare(made, CPU)
        assert inputs.shape == (3, 18, 400, 400)
        for i, (height, width) in enumerate(made.size.tolist()):
            assert image[i, 0, :height, :width].all()
            assert image[i].sum() == height * width
            cells = targets.cells[i, 0]
            assert cells.sum() == maps.output_size(height) * maps.output_size(width)


class _Sized:
    """A person in a square image of a given size, with a head that makes the scale 1."""

    def __init__(self, size: int) -> None:
        self._size = size

    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        joints = np.full((15, 2), self._size / 2)
        joints[12], joints[14] = (self._size / 2, self._size / 2), (self._size / 2, self._size / 2 + 49)
        return np.full((self._size, self._size, 3), 255, np.uint8), joints, np.empty((0, 15, 2))


class TestTrainer:
    def test_learns(self) -> None:
        model = trainer(steps=30, rate=0.02)
        made = [batch(0, 4)]
        first = model.step(copy.deepcopy(made))[0].total
        for _ in range(25):
            last = model.step(copy.deepcopy(made))[0].total
        assert last < 0.5 * first

    @pytest.mark.parametrize("precision", ["bf16", "tf32"])
    def test_mixed_precision_is_near(self, precision: str) -> None:
        exact, _ = trainer().step([batch(0, 4)])
        near, _ = trainer(precision=precision).step([batch(0, 4)])
        assert near.total.item() == pytest.approx(exact.total.item(), rel=0.02)

    def test_parts_of_a_batch_are_the_whole(self) -> None:
        """With frozen batch norms; the mean is over the cells and joints of the whole batch."""
        whole, parts = trainer(batch_norm="frozen"), trainer(batch_norm="frozen")
        a, _ = whole.step([batch(0, 4)])
        b, _ = parts.step([batch(0, 2), batch(2, 4)])
        torch.testing.assert_close(a.total, b.total)
        for name, value in state(whole.network).items():
            torch.testing.assert_close(state(parts.network)[name], value, rtol=1e-3, atol=1e-5, msg=name)

    def test_frozen_batch_norms_keep_their_statistics_and_learn_their_scale(self) -> None:
        model = trainer(batch_norm="frozen")
        before = state(model.network)
        model.step([batch(0, 4)])
        model.step([batch(4, 8)])
        after = state(model.network)
        assert torch.equal(before["backbone.stem.norm.running_mean"], after["backbone.stem.norm.running_mean"])
        assert not torch.equal(before["backbone.stem.norm.weight"], after["backbone.stem.norm.weight"])

    def test_live_batch_norms_gather_statistics(self) -> None:
        model = trainer()
        before = state(model.network)
        model.step([batch(0, 4)])
        assert not torch.equal(
            before["backbone.stem.norm.running_mean"], state(model.network)["backbone.stem.norm.running_mean"]
        )

    def test_averaged_weights_follow(self) -> None:
        model = trainer(steps=20)
        for _ in range(12):
            model.step([batch(0, 4)])
        current, averaged = model.network.part_head.weight, model.averaged.part_head.weight
        assert 0 < (current - averaged).abs().mean() < 0.02

    def test_a_loss_that_is_not_finite_stops_and_names_its_terms(self) -> None:
        model = trainer()
        with torch.no_grad():
            model.network.offset_head.weight.fill_(torch.nan)
        with pytest.raises(UserError, match=r"step 0: the loss is not finite \(part 0\.\d+, offset nan\)"):
            model.step([batch(0, 4)])

    def test_sgd(self) -> None:
        model = trainer(optimizer=partial(torch.optim.SGD, lr=0.0, momentum=0.9))
        before = state(model.network)
        model.step([batch(0, 4)])
        assert not same_state(before, state(model.network))

    def test_a_network_too_narrow_for_a_cpu(self) -> None:
        """With fewer than eight channels, PyTorch's gradients corrupt memory on a CPU without AVX-512."""
        narrow = Refiner(Architecture((1, 2, 2, 1), width=4))
        with pytest.raises(UserError, match=r"expected 8 or more to train on a CPU, .*conv1.conv has 4 input channels"):
            Trainer(narrow, partial(torch.optim.AdamW, lr=0.0), WarmUpCosine(0.01, 2), settings(), CPU, ALONE)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [({"batch_norm": "cold"}, "expected one of live, frozen"), ({"precision": "fp8"}, "fp32, tf32")],
    )
    def test_wrong_settings(self, changes: dict[str, str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            settings(**changes)


class TestRuns:
    def run(self, folder: Path, resume: bool = False, stop_at: int | None = None, **changes: Any) -> Trainer:
        model = trainer(steps=6, **changes)
        train(model, examples(), None, folder, resume, "demo", lambda: model.progress.step == stop_at)
        return model

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_run_that_was_stopped_goes_on_bit_for_bit(self, workers: int, tmp_path: Path) -> None:
        straight = self.run(tmp_path / "a", workers=workers)
        stopped = self.run(tmp_path / "b", stop_at=3, workers=workers)
        assert stopped.progress.step == 3
        torch.manual_seed(99)  # the state of the program that goes on is another
        resumed = self.run(tmp_path / "b", resume=True, workers=workers)
        assert resumed.progress.step == 6
        assert same_state(state(straight.network), state(resumed.network))
        assert same_state(state(straight.averaged), state(resumed.averaged))
        a, b = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in "ab")
        assert str(a["optimizer"]) == str(b["optimizer"])
        assert not same_state(state(stopped.network), state(straight.network))

    def test_weights_are_a_refiners(self, tmp_path: Path) -> None:
        model = self.run(tmp_path)
        tensors, provenance = weights.load(tmp_path / "last.safetensors")
        assert (provenance.kind, provenance.step, provenance.architecture) == ("refiner", "6", "demo")
        averaged = state(model.averaged)
        assert all(np.array_equal(tensor, averaged[name].numpy()) for name, tensor in tensors.items())
        assert list(tmp_path.glob(".*")) == []

    def test_curves_are_written(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        assert list((tmp_path / "curves").glob("events.*"))

    def test_nothing_to_go_on_from(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no checkpoint to go on from"):
            self.run(tmp_path, resume=True)

    def test_damaged_checkpoint(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        content = (tmp_path / "last.pt").read_bytes()
        (tmp_path / "last.pt").write_bytes(content[:1000])
        with pytest.raises(UserError, match="not this run's checkpoint"):
            self.run(tmp_path, resume=True)

    def test_a_folder_holds_one_run(self, tmp_path: Path) -> None:
        start_folder(tmp_path, {"seed": 0, "training": {"steps": 6, "workers": 2}}, resume=False)
        assert "commit:" in (tmp_path / "config.yaml").read_text()
        self.run(tmp_path)
        with pytest.raises(UserError, match="a run is there; go on with it by resume=true"):
            start_folder(tmp_path, {"seed": 0}, resume=False)
        start_folder(tmp_path, {"seed": 0, "training": {"steps": 6, "workers": 0}}, resume=True)
        with pytest.raises(UserError, match=r"this run had training.steps=6, not 7"):
            start_folder(tmp_path, {"seed": 0, "training": {"steps": 7, "workers": 2}}, resume=True)
        with pytest.raises(UserError, match="no run to go on with"):
            start_folder(tmp_path / "other", {}, resume=True)

    def test_batches_that_cannot_be_split(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="batch_size=4: expected a multiple of 3"):
            self.run(tmp_path, accumulate=3)

    def test_an_image_that_cannot_be_read(self, tmp_path: Path) -> None:
        model = trainer(workers=1)
        source = Examples(_Unreadable(), pose_errors(), QUIET, CANVAS, mean_head=MEAN_HEAD, seed=0)
        with pytest.raises(UserError, match=r"^a.jpg: no such image$"):
            train(model, source, None, tmp_path, False, "demo")


class _Unreadable:
    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        raise UserError("a.jpg: no such image")


class TestSchedules:
    def test_steps(self) -> None:
        schedule = Steps([0.005, 0.02, 0.002], [10, 20, 30])
        assert [schedule.rate(step, 0) for step in (0, 9, 10, 19, 20, 29, 1000)] == [0.005] * 2 + [0.02] * 2 + [
            0.002
        ] * 3

    def test_warm_up_and_cosine(self) -> None:
        schedule = WarmUpCosine(0.01, 5)
        rates = [schedule.rate(step, 105) for step in range(105)]
        assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
        assert rates[55] == pytest.approx(0.005)
        assert rates[5:] == sorted(rates[5:], reverse=True)
        assert rates[-1] < 1e-5


class TestStart:
    def test_from_nothing(self) -> None:
        assert isinstance(start_network("demo", None), Refiner)

    def test_an_imagenet_backbone_sees_what_it_saw(self, tmp_path: Path) -> None:
        """On a plain picture the stem returns what slim's would for the picture minus ImageNet's mean."""
        source = start_network("demo", None).eval()
        tensors = {
            n: t.numpy() for n, t in source.state_dict().items() if n.startswith("backbone") and "batches" not in n
        }
        kernel = tensors["backbone.stem.conv.weight"][:, :3].copy()
        tensors["backbone.stem.conv.weight"] = kernel
        path = tmp_path / "imagenet.safetensors"
        weights.save(path, tensors, weights.Provenance("resnet_v1_50.ckpt", "unknown", "demo", "backbone"))
        network = start_network("demo", path).eval()
        picture = torch.rand(1, 3, 32, 32) * 255
        mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
        expected = source.backbone.stem.norm(
            nn.functional.conv2d(picture - mean, torch.from_numpy(kernel), stride=2, padding=3)
        )
        inputs = torch.cat([picture, torch.zeros(1, 15, 32, 32)], dim=1)
        found = network.backbone.stem(inputs - network.input_mean)
        torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-3, atol=1e-3)

    def test_weights_of_another_architecture(self, tmp_path: Path) -> None:
        weights.save(tmp_path / "a.safetensors", {}, weights.Provenance("a", "1", "resnet50", "backbone"))
        with pytest.raises(UserError, match="expected weights of demo, found resnet50's"):
            start_network("demo", tmp_path / "a.safetensors")


def test_crop_windows_stay_within_the_crop() -> None:
    maker = examples()
    crop = Crop(1.0, (1000, 1000), (100, 200, 900, 230))
    for seed in range(50):
        pose = np.random.default_rng(seed).uniform(-300, 1200, (15, 2))
        window = maker._window(crop, pose, np.random.default_rng(seed))
        assert 100 <= window.box[0] < window.box[2] <= 900
        assert (window.box[1], window.box[3]) == (200, 230)
        assert window.width == CANVAS[1]
