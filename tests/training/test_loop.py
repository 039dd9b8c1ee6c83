"""The training loop on a few small examples."""

import copy
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import full_disk, small_network
from dots import QUIET, DotPeople, batch, examples
from pydantic import ValidationError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hpr.models import weight_files as weights
from hpr.cli.train import _Console
from hpr.errors import UserError
from hpr.metrics.comparison import ObjectiveScores
from hpr.refine.engine import PoseRefiner
from hpr.models.backbones.resnet import ResNet
from hpr.models.losses import Losses
from hpr.models.network import Refiner
from hpr.runtime.processes import ALONE, Processes
from hpr.skeleton import COCO17, MPII16, POSETRACK15, Skeleton
from hpr.training import loop
from hpr.training.history import History
from hpr.training.loop import Settings, Trainer, train
from hpr.training.monitoring import Curves
from hpr.training.dataset import AnnotatedPerson
from hpr.training.checkpoint import start_folder
from hpr.training.schedules import WarmUpCosine
from hpr.training.validation import Validated
from hpr.models.resnet_shapes import ResNetShape

CPU = torch.device("cpu")


def settings(**changes: Any) -> Settings:
    defaults = {"steps": 4, "batch_size": 4, "accumulate": 1, "batch_norm": "live", "precision": "fp32"}
    defaults |= {"max_gradient_norm": 1.0, "ema": 0.9, "workers": 0}
    defaults |= {"validate_every": 100, "checkpoint_every": 100, "log_every": 1}
    return Settings(**{**defaults, **changes})


def trainer(
    processes: Processes = ALONE,
    optimizer: Any = None,
    rate: float = 0.01,
    skeleton: Skeleton = POSETRACK15,
    **changes: Any,
) -> Trainer:
    torch.manual_seed(0)
    make = optimizer or partial(torch.optim.AdamW, lr=0.0)
    return Trainer(small_network(skeleton), make, WarmUpCosine(rate, 2), settings(**changes), CPU, processes)


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestTrainer:
    @pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17, MPII16])
    def test_learns(self, skeleton: Skeleton) -> None:
        model = trainer(steps=30, rate=0.02, skeleton=skeleton)
        made = [batch(0, 4, examples(skeleton=skeleton))]
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
        """With frozen batch norms; the mean is over the cells and keypoints of the whole batch."""
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
        model.step([batch(0, 4)])
        model.step([batch(4, 8)])  # has no finite part loss any more; it is the first one that is named
        with pytest.raises(UserError, match=r"step 0: the loss is not finite \(part 0\.\d+, offset nan\)"):
            model.look()

    def test_a_gradient_that_is_not_finite_stops(self) -> None:
        """Where the loss is, so that the weights would be spoilt first."""
        model = trainer()
        model.network.part_head.weight.register_hook(lambda gradient: gradient * torch.inf)
        model.step([batch(0, 4)])
        with pytest.raises(UserError, match=r"step 0: the gradient is not finite \(length (nan|inf)\)"):
            model.look()

    def test_gradients_are_left_as_they_are_without_a_limit(self) -> None:
        sgd = partial(torch.optim.SGD, lr=0.0)
        limited, free = (trainer(max_gradient_norm=limit, optimizer=sgd) for limit in (1e-9, None))
        before = state(limited.network)["part_head.bias"]
        for model in (limited, free):
            assert float(model.step([batch(0, 4)])[1]) > 1e-3
        moved = [(state(model.network)["part_head.bias"] - before).abs().max() for model in (limited, free)]
        assert moved[0] < 1e-9 < 1e-6 < moved[1]

    def test_cudnn_tries_its_algorithms_in_training_alone(self) -> None:
        model, seen = trainer(), []
        model.network.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))
        model.step([batch(0, 4)])
        assert seen == [True]
        assert not torch.backends.cudnn.benchmark

    def test_sgd(self) -> None:
        model = trainer(optimizer=partial(torch.optim.SGD, lr=0.0, momentum=0.9))
        before = state(model.network)
        model.step([batch(0, 4)])
        assert not same_state(before, state(model.network))

    def test_a_network_too_narrow_for_a_cpu(self) -> None:
        """With fewer than eight channels, PyTorch's gradients corrupt memory on a CPU without AVX-512."""
        narrow = Refiner(partial(ResNet, shape=ResNetShape((1, 2, 2, 1), width=4)), POSETRACK15)
        with pytest.raises(UserError, match=r"expected 8 or more to train on a CPU, .*conv1.conv has 4 input channels"):
            Trainer(narrow, partial(torch.optim.AdamW, lr=0.0), WarmUpCosine(0.01, 2), settings(), CPU, ALONE)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"batch_norm": "cold"}, r"batch_norm\n.*'live' or 'frozen'"),
            ({"precision": "fp8"}, r"precision\n.*'fp32', 'tf32', 'bf16' or 'fp16'"),
            ({"steps": 0}, r"steps\n.*greater than"),
            ({"ema": 1.0}, r"ema\n.*less than 1"),
            ({"epochs": 3}, r"epochs\n.*not permitted"),
        ],
    )
    def test_wrong_settings(self, changes: dict[str, Any], message: str) -> None:
        """The words that a user sees are tested with the command."""
        with pytest.raises(ValidationError, match=message):
            settings(**changes)


class TestRuns:
    def run(self, folder: Path, resume: bool = False, stop_at: int | None = None, **changes: Any) -> Trainer:
        model = trainer(steps=6, **changes)
        source = examples(skeleton=model.network.skeleton)
        train(model, source, None, folder, resume, "demo", stopping=lambda: model.progress.step == stop_at)
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

    @pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
    def test_weights_are_a_refiners(self, skeleton: Skeleton, tmp_path: Path) -> None:
        model = self.run(tmp_path, skeleton=skeleton)
        tensors, provenance = weights.load(tmp_path / "last.safetensors")
        assert (provenance.kind, provenance.step, provenance.architecture) == ("refiner", "6", "demo")
        assert provenance.checked_skeleton(tmp_path) is skeleton
        averaged = state(model.averaged)
        assert all(np.array_equal(tensor, averaged[name].numpy()) for name, tensor in tensors.items())
        assert list(tmp_path.glob(".*")) == []

    def test_what_was_trained_refines(self, tmp_path: Path) -> None:
        refiner = PoseRefiner(self.run(tmp_path, skeleton=COCO17).averaged, "cpu")
        person = DotPeople(COCO17).person(0)
        refined = refiner(person.image.pixels(), person.pose[None])
        assert refined.keypoints.shape == (1, 17, 2)
        assert refiner.skeleton == COCO17

    def test_pictures_are_among_the_curves(self, tmp_path: Path) -> None:
        curves, picture = Curves(tmp_path, log_every=1), np.full((20, 30, 3), 200, np.uint8)
        curves.on_start(0, 10)
        for people in (None, picture):
            curves.on_validation(5, Validated(ObjectiveScores(1.0, 2.0, 3.0), people))
        curves.on_end()
        (path,) = tmp_path.glob("events.*")
        content = path.read_bytes()
        assert content.count(b"people") == 1
        start = content.index(b"\xff\xd8\xff")
        found = cv2.imdecode(np.frombuffer(content[start:], np.uint8), cv2.IMREAD_COLOR)
        assert found is not None
        assert found.shape == picture.shape

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

    @pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
    def test_a_block_of_a_checkpoint_is_damaged(self, share: float, tmp_path: Path) -> None:
        self.run(tmp_path)
        content = bytearray((tmp_path / "last.pt").read_bytes())
        start = int(share * len(content))
        content[start : start + 4096] = bytes(255 - byte for byte in content[start : start + 4096])
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"last.pt: not this run's checkpoint"):
            self.run(tmp_path, resume=True)

    @pytest.mark.parametrize("text", ["", "[1, 2]", "seed: [", "5", "\x00"])
    def test_broken_settings_of_a_run(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config.yaml: not the settings of a run"):
            start_folder(tmp_path, {"seed": 0}, resume=True)

    def test_batches_that_cannot_be_split(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="batch_size=4: expected a multiple of 3"):
            self.run(tmp_path, accumulate=3)

    def test_an_image_that_cannot_be_read(self, tmp_path: Path) -> None:
        model = trainer(workers=1)
        with pytest.raises(UserError, match=r"^a.jpg: no such image$"):
            train(model, examples(QUIET, _Unreadable()), None, tmp_path, False, "demo")
        assert multiprocessing.active_children() == []  # or the program would wait for them at its end

    def test_a_worker_that_is_killed(self, tmp_path: Path) -> None:
        model = trainer(workers=1)
        with pytest.raises(UserError, match=r"a process that prepares examples was lost .*resume=true goes on"):
            train(model, examples(QUIET, _Deadly()), None, tmp_path, False, "demo")
        assert multiprocessing.active_children() == []

    @pytest.mark.parametrize(("room", "name"), [(10, "curves"), (50_000, "last.pt")])
    def test_a_full_disk(self, room: int, name: str, tmp_path: Path) -> None:
        with full_disk(room), pytest.raises(UserError, match=rf"{name}: cannot be written \(File too large\)"):
            train(trainer(), examples(), None, tmp_path, False, "demo")
        assert [path.name for path in tmp_path.iterdir()] == ["curves"]


class TestLooks:
    """At the device, which it has to be waited for."""

    def steps(self, folder: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int = 99, **changes: Any) -> list[int]:
        """Trains on a CPU that is looked at as seldom as a GPU, and returns after which steps it is."""
        monkeypatch.setitem(loop.LOOK_EVERY, "cpu", loop.LOOK_EVERY["cuda"])
        model = trainer(**{"steps": 13, "batch_size": 1, "log_every": 100, **changes})
        steps, look = [], model.look

        def watched(asked: bool) -> bool:
            steps.append(model.progress.step)
            return look(asked)

        monkeypatch.setattr(model, "look", watched)
        train(model, examples(), None, folder, False, "demo", stopping=lambda: model.progress.step >= stop_at)
        return steps

    def test_nothing_asks_between_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the loop nor what it tells of: curves, the run's page, a bar with the loss."""
        monkeypatch.setitem(loop.LOOK_EVERY, "cpu", loop.LOOK_EVERY["cuda"])
        sgd = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
        model = trainer(steps=24, batch_size=1, log_every=7, optimizer=sgd)
        history = History(tmp_path, "dots", ObjectiveScores(1.0, 2.0, 3.0), 7)
        console = _Console(_FakeValidation([]), 7)  # type: ignore[arg-type]
        with _Questions(model) as asked:
            train(model, examples(QUIET), None, tmp_path, False, "demo", [history, console])
        assert asked.after == {0, 1, 7, 14, 21}  # the loader's seed is a tensor; then what is shown

    def test_are_few(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.steps(tmp_path / "a", monkeypatch) == [1, 10, 13]
        assert self.steps(tmp_path / "b", monkeypatch, log_every=6) == [1, 6, 10, 12, 13]

    def test_come_before_anything_is_saved(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.steps(tmp_path, monkeypatch, checkpoint_every=4) == [1, 4, 8, 10, 12, 13]

    def test_weights_that_a_step_has_spoilt_are_not_saved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = torch.optim.SGD.step

        def spoil(optimizer: torch.optim.SGD, *arguments: Any) -> None:
            limits(optimizer, *arguments)
            optimizer.param_groups[0]["params"][-1].data.fill_(torch.nan)

        monkeypatch.setattr(torch.optim.SGD, "step", spoil)
        sgd = partial(torch.optim.SGD, lr=0.0)
        with pytest.raises(UserError, match=r"step 1: the loss is not finite"):
            self.steps(tmp_path, monkeypatch, optimizer=sgd, checkpoint_every=3)
        assert [path.name for path in tmp_path.iterdir()] == ["curves"]

    def test_a_request_to_stop_waits_for_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.steps(tmp_path, monkeypatch, stop_at=3) == [1, 10]
        assert (tmp_path / "last.pt").exists()


class _Questions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes after which steps a number is read off a tensor."""

    def __init__(self, model: Trainer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self.after: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.after.add(self._model.progress.step)
        return func(*args, **(kwargs or {}))


class _Unreadable:
    skeleton = POSETRACK15

    def person(self, index: int) -> AnnotatedPerson:
        raise UserError("a.jpg: no such image")


class _Deadly:
    skeleton = POSETRACK15

    def person(self, index: int) -> AnnotatedPerson:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class TestMonitors:
    """What the outside is told."""

    def test_of_every_step(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        told, model = _Recorder(), trainer(steps=3)
        train(model, examples(), None, tmp_path, False, "demo", [told])
        assert told.events[0] == ("start", 0, 3)
        assert [event[:2] for event in told.events[1:-1]] == [("step", 1), ("step", 2), ("step", 3)]
        assert all(loss > 0 and norm > 0 for _, _, loss, norm, _ in told.events[1:-1])
        assert [rate for *_, rate in told.events[1:-1]] == [0.005, 0.01, 0.01]
        assert told.events[-1] == ("end",)
        assert capfd.readouterr() == ("", "")

    def test_of_where_it_goes_on(self, tmp_path: Path) -> None:
        for resume in (False, True):
            told, model = _Recorder(), trainer(steps=3)
            is_late = partial(lambda trained: trained.progress.step == 2, model)
            train(model, examples(), None, tmp_path, resume, "demo", [told], is_late)
        assert told.events[0] == ("start", 2, 3)
        assert [event[0] for event in told.events] == ["start", "step", "end"]

    def test_of_the_end_after_an_error(self, tmp_path: Path) -> None:
        told = _Recorder()
        with pytest.raises(UserError):
            train(trainer(), examples(QUIET, _Unreadable()), None, tmp_path, False, "demo", [told])
        assert told.events == [("start", 0, 4), ("end",)]

    def test_of_validations(self, tmp_path: Path) -> None:
        told, model, validation = _Recorder(), trainer(steps=5, validate_every=2), _FakeValidation([1.0, 3.0, 2.0])
        last = train(model, examples(), validation, tmp_path, False, "demo", [told])  # type: ignore[arg-type]
        seen = [event[1:] for event in told.events if event[0] == "validation"]
        assert [(step, scores.mean) for step, scores in seen] == [(2, 1.0), (4, 3.0), (5, 2.0)]
        assert last is seen[-1][1]
        _, best = weights.load(tmp_path / "best.safetensors")
        assert (best.step, model.progress.best) == ("4", 3.0)


class _Recorder:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_start(self, step: int, steps: int) -> None:
        self.events.append(("start", step, steps))

    def on_step(self, step: int, losses: Losses, gradient_norm: torch.Tensor, rate: float) -> None:
        self.events.append(("step", step, losses.total.item(), gradient_norm.item(), rate))

    def on_validation(self, step: int, validated: Validated) -> None:
        self.events.append(("validation", step, validated.scores))

    def on_end(self) -> None:
        self.events.append(("end",))


class _FakeValidation:
    """Has scores ready."""

    def __init__(self, means: list[float]) -> None:
        self._means = iter(means)

    def after(self, network: Refiner, device: str) -> Validated:
        mean = next(self._means)
        return Validated(ObjectiveScores(mean, mean, 0.0), None)
