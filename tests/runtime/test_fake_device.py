"""Refining and training on a fake GPU: tensors without values that know their device.

A tensor on the wrong device is found by PyTorch's own rules (`FakeTensorMode`). Only what the mode cannot do is
patched: reading values, of which there are none, `numpy`, `copy.deepcopy`, and `Module.to`. Training runs on the device
"meta" instead of "cuda": for gradients of tensors on "cuda", PyTorch asks the driver about streams.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from hpr.codec import rectangles
from hpr.crops import Crop
from hpr.models.network import Prediction, Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.poses import FrameKey
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import Outcome, PersonKey, RefinedPose
from hpr.runtime.processes import ALONE
from hpr.skeleton import POSETRACK15
from hpr.training.examples import Example
from hpr.training.loop import Trainer, TrainingSettings, update_average
from hpr.training.schedules import WarmUpCosine

NETWORKS: dict[str, Callable[[], Refiner]] = {
    "resnet": small_network,
    "timm": partial(build_network, "timm/resnet18", POSETRACK15),
    "convnext": partial(build_network, "timm/test_convnext", POSETRACK15),
    "confident discs": partial(build_network, "demo", POSETRACK15, "confident_discs"),
}
CANVAS = (64, 48)
SAME = [CANVAS, CANVAS]
UNEQUAL = [CANVAS, (41, 37)]
WRONG = "all tensors to be on the same device, but found at least two devices, (.* and cpu|cpu and .*)!"


class Fake(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without values; every value that is read is 1. Notes operations that wait for the device."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _waits(func, args, kwargs or {}):
            self.waits.append(str(func))
        if func is torch.ops.aten._local_scalar_dense.default:
            return np.ones((), str(args[0].dtype).removeprefix("torch.")).item()
        return super().__torch_dispatch__(func, types, args, kwargs)


_READS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal, torch.ops.aten.is_nonzero)


def _waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Returns whether an operation waits for the device: it reads a value, or copies between devices blockingly."""
    own = [arg for arg in args if isinstance(arg, Tensor)]
    if func.overloadpacket in _READS:
        return own[0].device.type != "cpu"
    if func.overloadpacket is torch.ops.aten.copy_:
        return own[0].device != own[1].device and not (args[2:] or [False])[0]
    if func.overloadpacket is torch.ops.aten._to_copy:
        device = torch.device(kwargs.get("device") or own[0].device)
        return device.type != own[0].device.type and not kwargs.get("non_blocking")
    return False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A mode in which there is a CUDA device."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(FakeTensor, "numpy", zeros)
    monkeypatch.setattr(FakeTensor, "__deepcopy__", copied, raising=False)
    monkeypatch.setattr(nn.Module, "_apply", apply)
    # It draws until all values are within bounds, which 1 is not.
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **settings: tensor)
    return Fake()


def zeros(tensor: Tensor) -> Any:
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device.type} device type tensor to numpy")
    return np.zeros(tuple(tensor.shape))


def copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    return memo.setdefault(id(tensor), tensor.detach().clone())  # type: ignore[no-any-return]


def apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Does what `to` does with new parameters: PyTorch changes fake ones in place, which weak references forbid."""
    for child in module.children():
        apply(child, change)
    with torch.no_grad():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(change(parameter), parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, change(buffer))
    return module


def refine(
    network: Callable[[], Refiner], sizes: Sequence[tuple[int, int]], fake: Fake, precision: str = "auto"
) -> tuple[list[RefinedPose], list[PaddedBatch]]:
    """Refines people in two iterations on "cuda"; returns the results and the network's inputs."""
    people, batches = [], list[PaddedBatch]()
    for person, (h, w) in enumerate(sizes):
        crop, key = Crop(1.0, (w, h), (0, 0, w, h)), PersonKey(FrameKey(0, 0), person)
        people.append(PersonCrop(key, crop, np.zeros((h, w, 3), np.uint8), np.full((15, 2), 20.0)))

    def predict(batch: PaddedBatch) -> Prediction:
        batches.append(batch)
        return PoseRefiner.predict(engine, batch)

    with fake:
        engine = PoseRefiner(network(), "cuda", precision, iterations=2)
        engine.predict = predict  # type: ignore[method-assign]
        return list(engine.refine_crops(people)), batches


def examples(sizes: Sequence[tuple[int, int]]) -> Example:
    count, pose = len(sizes), torch.full((len(sizes), 15, 2), 20.0, dtype=torch.float64)
    tensors: dict[str, Any] = {
        "pixels": torch.zeros(count, *CANVAS, 3, dtype=torch.uint8),
        "size": torch.tensor(sizes),
        "start": torch.zeros(count, 2, dtype=torch.int64),
        "estimate": pose,
        "truth": pose,
        "scale": torch.ones(count, dtype=torch.float64),
        "scores": torch.ones(count, 15, dtype=torch.float64),
        "labelled": torch.ones(count, 15, dtype=torch.bool),
        "ignored": torch.zeros(count, CANVAS[0] // 8, CANVAS[1] // 8, dtype=torch.bool),
        "colour": torch.tensor([[1.1, 0.9, 1.2, 0.02]], dtype=torch.float64).expand(count, 4),
    }
    return Example(**tensors)


def train(
    network: Callable[[], Refiner], sizes: Sequence[tuple[int, int]], fake: Fake, batch_norm: str = "live"
) -> tuple[Trainer, list[PaddedBatch]]:
    """Does two steps, each in two parts; returns the trainer and the network's inputs. Notes waits of the steps."""
    settings = {"steps": 4, "epochs": None, "batch_size": 4, "accumulate": 2, "batch_norm": batch_norm, "ema": 0.9}
    settings |= {"precision": "tf32", "max_gradient_norm": 1.0, "num_workers": 0, "backbone_lr": 1.0}
    settings |= dict.fromkeys(("validate_every", "checkpoint_every", "log_every"), 9)
    made, batches = examples(sizes), list[PaddedBatch]()
    with fake:
        optimizer, own = partial(torch.optim.AdamW, lr=0.0), TrainingSettings.model_validate(settings)
        trainer = Trainer(network(), optimizer, WarmUpCosine(0.1, 2), own, torch.device("meta"), ALONE)
        trainer.network.register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0]))
        fake.waits.clear()
        for _ in range(2):
            losses, _ = trainer.step([made, made])
            assert losses.total.device.type == "meta"
    return trainer, batches


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
@pytest.mark.parametrize(("sizes", "precision"), [(SAME, "auto"), (UNEQUAL, "auto"), (UNEQUAL, "fp16")])
def test_refining(network: Callable[[], Refiner], sizes: list[tuple[int, int]], precision: str, fake: Fake) -> None:
    results, batches = refine(network, sizes, fake, precision)
    assert [result.outcome for result in results] == [Outcome.REFINED, Outcome.REFINED]
    assert [batch.tensors.device.type for batch in batches] == ["cuda", "cuda"]  # both people in two iterations
    assert [batch.is_padded for batch in batches] == [sizes == UNEQUAL] * 2


@pytest.mark.parametrize(
    ("network", "sizes", "batch_norm"),
    [
        ("resnet", SAME, "live"),
        ("resnet", UNEQUAL, "live"),
        ("resnet", UNEQUAL, "frozen"),
        ("timm", UNEQUAL, "live"),
    ],
)
def test_training(network: str, sizes: list[tuple[int, int]], batch_norm: str, fake: Fake) -> None:
    """Steps do not wait for the device."""
    trainer, batches = train(NETWORKS[network], sizes, fake, batch_norm)
    assert fake.waits == []
    assert [batch.is_padded for batch in batches] == [sizes == UNEQUAL] * 4
    for own in (trainer.network, trainer.averaged):
        assert {tensor.device.type for tensor in own.state_dict().values()} == {"meta"}


def test_synchronizing_waits_for_values_only(fake: Fake) -> None:
    trainer, _ = train(small_network, SAME, fake)
    with fake:
        trainer.synchronize()
    assert set(fake.waits) == {"aten._local_scalar_dense.default"}


def test_a_wait_is_found(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    count = torch.zeros((), device="meta")

    def update(averaged: nn.Module, network: nn.Module, decay: float, steps: int) -> None:
        update_average(averaged, network, decay, int(count))

    monkeypatch.setattr("hpr.training.loop.update_average", update)
    train(small_network, SAME, fake)
    assert fake.waits == ["aten._local_scalar_dense.default"] * 2


def arange_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    arange = torch.arange

    def without_device(*numbers: int, device: object = None) -> Tensor:
        return arange(*numbers)

    monkeypatch.setattr(torch, "arange", without_device)


def masks_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpr.models.padding.rectangles", lambda *arguments: rectangles(*arguments).cpu())


class TestATensorOnTheWrongDevice:
    """It is found wherever it is made."""

    @pytest.mark.parametrize("defect", [arange_on_the_cpu, masks_on_the_cpu])
    @pytest.mark.parametrize("use", [refine, train])
    def test_in(
        self, use: Callable[..., Any], defect: Callable[..., None], fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        defect(monkeypatch)
        with pytest.raises(RuntimeError, match=WRONG):
            use(small_network, UNEQUAL, fake)

    def test_a_result_that_is_not_brought_back(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Tensor, "cpu", lambda tensor: tensor)
        with pytest.raises(TypeError, match="can't convert cuda device type tensor"):
            refine(small_network, SAME, fake)
