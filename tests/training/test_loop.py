"""The training loop on a few small examples."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import cv2
import numpy as np
import pytest
import torch
from conftest import small_network
from dots import QUIET, SGD, PosesOnly, batch, examples, run, state, trainer, training_settings
from torch.utils._python_dispatch import TorchDispatchMode

from hpr.cli.train import Console
from hpr.errors import UserError
from hpr.metrics.scores import Scores
from hpr.models import weights
from hpr.models.backbones.resnet import ResNet
from hpr.models.losses import Losses
from hpr.models.network import Refiner
from hpr.models.resnet_shapes import ResNetShape
from hpr.runtime.processes import ALONE
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.training import loop
from hpr.training.callbacks import Callback, TensorBoard
from hpr.training.dataset import AnnotatedPerson, PeopleDataset
from hpr.training.loop import Trainer, train, update_average
from hpr.training.schedules import Steps, WarmUpCosine
from hpr.training.validation import Validation, ValidationResult


def scores(selection: float) -> Scores:
    return Scores({"AP": {"Total": selection}}, "Total", {"mAP": selection, "PCKh": 3.0}, selection)


class TestTrainer:
    @pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
    def test_learns(self, skeleton: Skeleton) -> None:
        model = trainer(steps=20, rate=0.02, network=partial(small_network, skeleton))
        made = [batch(0, 4, examples(skeleton=skeleton))]
        totals = [model.step(made)[0].total for _ in range(26)]
        assert totals[-1] < 0.5 * totals[0]

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

    @pytest.mark.parametrize("mode", ["frozen", "live"])
    def test_batch_norms_keep_their_statistics_if_frozen_and_learn_their_scale(self, mode: str) -> None:
        model = trainer(batch_norm=mode)
        before = state(model.network)
        model.step([batch(0, 4)])
        model.step([batch(4, 8)])
        after = state(model.network)
        norm = "backbone.stem.norm"
        is_kept = torch.equal(before[f"{norm}.running_mean"], after[f"{norm}.running_mean"])
        assert is_kept == (mode == "frozen")
        assert not torch.equal(before[f"{norm}.weight"], after[f"{norm}.weight"])

    def test_a_loss_that_is_not_finite_stops_and_names_its_terms(self) -> None:
        model = trainer()
        with torch.no_grad():
            model.network.offset_head.weight.fill_(torch.nan)
        model.step([batch(0, 4)])
        model.step([batch(4, 8)])  # has no finite part loss any more; it is the first step that is named
        with pytest.raises(UserError, match=r"step 0: the loss is not finite \(part 0\.\d+, offset nan\)"):
            model.synchronize()

    def test_a_gradient_that_is_not_finite_stops(self) -> None:
        """Although the loss is finite: the weights would be spoilt."""
        model = trainer()
        model.network.part_head.weight.register_hook(lambda gradient: gradient * torch.inf)
        model.step([batch(0, 4)])
        with pytest.raises(UserError, match=r"step 0: the gradient is not finite \(norm (nan|inf)\)"):
            model.synchronize()

    def test_gradients_are_left_as_they_are_without_a_limit(self) -> None:
        limited, free = (trainer(max_gradient_norm=limit, optimizer=SGD) for limit in (1e-9, None))
        before = state(limited.network)["part_head.bias"]
        for model in (limited, free):
            assert float(model.step([batch(0, 4)])[1]) > 1e-3
        moved = [(state(model.network)["part_head.bias"] - before).abs().max() for model in (limited, free)]
        assert moved[0] < 1e-9 < 1e-6 < moved[1]

    def test_a_network_too_narrow_for_a_cpu(self) -> None:
        """With fewer than eight channels, PyTorch's gradients corrupt memory on a CPU without AVX-512."""
        narrow = Refiner(partial(ResNet, shape=ResNetShape((1, 2, 2, 1), width=4)), POSETRACK15)
        with pytest.raises(UserError, match=r"expected 8 or more to train on a CPU, .*conv1.conv has 4 input channels"):
            Trainer(narrow, SGD, WarmUpCosine(0.01, 2), training_settings(), torch.device("cpu"), ALONE)


@pytest.mark.parametrize(
    ("steps", "epochs", "people", "default", "expected"),
    [
        *((3, None, 1, None, 3), (3, None, 1, 7, 3), (None, None, 1, 7, 7)),
        *((None, 1, 1, 7, 1), (None, 0.001, 5, 7, 1), (None, 1, 64, 7, 1), (None, 1, 65, 7, 2)),
        (None, 140, 300_000, None, 656_250),
    ],
)
def test_number_of_steps(
    steps: int | None, epochs: float | None, people: int, default: int | None, expected: int
) -> None:
    source = PosesOnly(np.zeros((people, 15, 2)), POSETRACK15)
    settings = training_settings(steps=steps, epochs=epochs, batch_size=64)
    assert settings.with_steps(source, "coco", default).steps == expected


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_weights_are_averaged_over_the_steps(decay: float) -> None:
    """As `torch.optim.swa_utils.AveragedModel` would with this decay, which forgets faster while it is young."""
    network, averaged = small_network(), small_network()
    for count in range(5):
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data += torch.randn_like(tensor) if tensor.is_floating_point() else 1
        before, current = state(averaged), state(network)
        update_average(averaged, network, decay, count)
        weight = min(decay, (1 + count) / (10 + count)) if count else 0.0
        for name, tensor in state(averaged).items():
            is_counted = not tensor.is_floating_point()  # batches, by the batch norms
            expected = current[name] if is_counted else torch.lerp(current[name], before[name], weight)
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6, msg=name)


class TestSchedules:
    def test_steps(self) -> None:
        schedule = Steps([0.005, 0.02, 0.002], [10, 20, 30])
        rates = [schedule(step, 0) for step in (0, 9, 10, 19, 20, 29, 1000)]
        assert rates == [0.005] * 2 + [0.02] * 2 + [0.002] * 3

    def test_warm_up_and_cosine(self) -> None:
        schedule = WarmUpCosine(0.01, 5)
        rates = [schedule(step, 105) for step in range(105)]
        assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
        assert rates[55] == pytest.approx(0.005)
        assert rates[5:] == sorted(rates[5:], reverse=True)
        assert rates[-1] < 1e-5


class Unreadable(PeopleDataset):
    skeleton = POSETRACK15

    def person(self, index: int) -> AnnotatedPerson:
        raise UserError("a.jpg: no such image")


class Deadly(PeopleDataset):
    skeleton = POSETRACK15

    def person(self, index: int) -> AnnotatedPerson:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (Unreadable(), r"^a.jpg: no such image$"),
        (Deadly(), r"a process that prepares examples was lost .*resume=true continues"),
    ],
)
def test_a_worker_that_fails(people: PeopleDataset, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(trainer(num_workers=1), examples(QUIET, people), None, tmp_path, False, "demo")
    assert multiprocessing.active_children() == []  # or the program would wait for them at its end


class TestSynchronize:
    """The host waits for the device only where it has to."""

    def steps(self, folder: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int = 99, **changes: Any) -> list[int]:
        """Trains on a CPU that synchronizes as seldom as a GPU, and returns after which steps it does."""
        monkeypatch.setitem(loop.SYNCHRONIZE_EVERY, "cpu", loop.SYNCHRONIZE_EVERY["cuda"])
        model = trainer(**{"steps": 11, "batch_size": 1, "log_every": 100, **changes})
        steps, synchronize = [], model.synchronize

        def noted(stop_requested: bool) -> bool:
            steps.append(model.progress.step)
            return synchronize(stop_requested)

        monkeypatch.setattr(model, "synchronize", noted)
        train(model, examples(), None, folder, False, "demo", stop_requested=lambda: model.progress.step >= stop_at)
        return steps

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, [1, 10, 11]),
            ({"log_every": 6, "checkpoint_every": 4}, [1, 4, 6, 8, 10, 11]),  # before anything is logged or saved
            ({"stop_at": 3}, [1, 10]),
        ],
    )
    def test_seldom(
        self, changes: dict[str, Any], expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.steps(tmp_path, monkeypatch, **changes) == expected
        assert (tmp_path / "last.pt").exists()

    def test_nothing_waits_between(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the loop nor its callbacks: TensorBoard's files, a bar with the loss."""
        monkeypatch.setitem(loop.SYNCHRONIZE_EVERY, "cpu", loop.SYNCHRONIZE_EVERY["cuda"])
        model = trainer(steps=17, batch_size=1, log_every=7, optimizer=partial(SGD, momentum=0.9))
        with Reads(model) as reads:
            train(model, examples(QUIET), None, tmp_path, False, "demo", [Console(scores(1.0), 7)])
        assert reads.after == {0, 1, 7, 14}  # the loader's seed is a tensor; then what is logged

    def test_weights_that_a_step_has_spoilt_are_not_saved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = torch.optim.SGD.step

        def spoil(optimizer: torch.optim.SGD, *arguments: Any) -> None:
            step(optimizer, *arguments)
            optimizer.param_groups[0]["params"][-1].data.fill_(torch.nan)

        monkeypatch.setattr(torch.optim.SGD, "step", spoil)
        with pytest.raises(UserError, match=r"step 1: the loss is not finite"):
            self.steps(tmp_path, monkeypatch, optimizer=SGD, checkpoint_every=3)
        assert [path.name for path in tmp_path.iterdir()] == ["curves"]


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes after which steps a number is read off a tensor."""

    def __init__(self, model: Trainer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self.after: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.after.add(self._model.progress.step)
        return func(*args, **(kwargs or {}))


class TestCallbacks:
    def test_every_step(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        recorder = Mock(spec=Callback)
        train(trainer(steps=3), examples(), None, tmp_path, False, "demo", [recorder])
        assert recorder.method_calls[0] == call.on_start(0, 3)
        assert recorder.method_calls[-1] == call.on_end()
        steps = [own.args for own in recorder.on_step.call_args_list]
        assert [(step, lr) for step, _, _, lr in steps] == [(1, 0.005), (2, 0.01), (3, 0.01)]
        assert all(losses.total > 0 and norm > 0 for _, losses, norm, _ in steps)
        assert capfd.readouterr() == ("", "")

    def test_a_resumed_run_and_the_end_after_an_error(self, tmp_path: Path) -> None:
        run(tmp_path, stop_at=2, steps=3)
        recorder = Mock(spec=Callback)
        with pytest.raises(UserError):
            train(trainer(steps=3), examples(QUIET, Unreadable()), None, tmp_path, True, "demo", [recorder])
        assert recorder.method_calls == [call.on_start(2, 3), call.on_end()]

    def test_validations(self, tmp_path: Path) -> None:
        results = [ValidationResult(scores(selection), None) for selection in (1.0, 3.0, 2.0)]
        recorder, validation = Mock(spec=Callback), Mock(spec=Validation)
        validation.after.side_effect = results
        model = trainer(steps=5, validate_every=2)
        last = train(model, examples(), validation, tmp_path, False, "demo", [recorder])
        assert recorder.on_validation.call_args_list == list(map(call, (2, 4, 5), results))
        assert last is results[-1].scores
        _, best = weights.load(tmp_path / "best.safetensors")
        assert (best.step, model.progress.best) == ("4", 3.0)


def test_scalars_and_pictures_for_tensorboard(tmp_path: Path) -> None:
    writer, picture = TensorBoard(tmp_path, log_every=2), np.full((20, 30, 3), 200, np.uint8)
    writer.on_start(0, 10)
    for step in (1, 2, 3):
        writer.on_step(step, Losses(torch.tensor(0.5), torch.tensor(0.25)), torch.tensor(2.0), 0.1)
    for people in (None, picture):
        writer.on_validation(5, ValidationResult(scores(1.0), people))
    writer.on_validation(7, ValidationResult(scores(float("nan")), None))  # nobody was scored by mAP
    writer.on_end()

    (path,) = tmp_path.glob("events.*")
    content = path.read_bytes()
    assert [content.count(tag) for tag in (b"offset", b"mAP", b"people")] == [2, 2, 1]
    found = cv2.imdecode(np.frombuffer(content[content.index(b"\x89PNG") :], np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    assert found.shape == picture.shape
