"""Refining and training on a GPU that is not there: tensors without numbers that know which device they are on.

A tensor made on the wrong device is found as on a GPU, by PyTorch's own rules (`FakeTensorMode`). Patched is only what
the mode cannot do: numbers that are read off a tensor (there are none), `numpy`, `copy.deepcopy`, and `Module.to` of
parameters that are fake already. Training is done on the device "meta" in place of "cuda": for gradients of tensors on
"cuda", PyTorch asks the driver about streams.
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

from hpr.crops import Crop
from hpr.design import Design
from hpr.codec import rectangles
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PassedThrough, PoseRefiner, RefinedPose
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.runtime.processes import ALONE
from hpr.skeleton import POSETRACK15
from hpr.training.averaging import AveragedWeights
from hpr.training.examples import Example
from hpr.training.loop import Settings, Trainer
from hpr.training.schedules import WarmUpCosine

NETWORKS: dict[str, Callable[[], Refiner]] = {
    "resnet": small_network,
    "torchvision": partial(build_network, "torchvision_resnet18", POSETRACK15),
    "convnext": partial(build_network, "demo_convnext", POSETRACK15),
    "scores and votes": partial(build_network, "demo", POSETRACK15, Design("confident_discs", "votes")),
    "gaussians and places": partial(build_network, "demo", POSETRACK15, Design("gaussians", "integral")),
}
CANVAS = (64, 48)
SAME = [CANVAS, CANVAS]
UNEQUAL = [CANVAS, (41, 37)]
WRONG = "all tensors to be on the same device, but found at least two devices, (.* and cpu|cpu and .*)!"


class Fake(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without numbers; whatever is read off one is 1."""

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
    """Returns whether an operation waits for the device: it asks for a number or a shape, or moves a tensor at once."""
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
    monkeypatch.setattr(FakeTensor, "numpy", zeros_on_the_host)
    monkeypatch.setattr(FakeTensor, "__deepcopy__", copied, raising=False)
    monkeypatch.setattr(nn.Module, "_apply", apply)
    # It draws again until all numbers are within bounds, which 1 is not.
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **settings: tensor)
    return Fake()


def zeros_on_the_host(tensor: Tensor) -> Any:
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device.type} device type tensor to numpy")
    return np.zeros(tuple(tensor.shape))


def copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    return memo.setdefault(id(tensor), tensor.detach().clone())  # type: ignore[no-any-return]


def apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """What `to` does, with new parameters: PyTorch changes fake ones in place, which their weak references forbid."""
    for child in module.children():
        apply(child, change)
    with torch.no_grad():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(change(parameter), parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, change(buffer))
    return module


def people(sizes: Sequence[tuple[int, int]]) -> list[PersonCrop]:
    return [
        PersonCrop(key, Crop(1.0, (w, h), (0, 0, w, h)), np.zeros((h, w, 3), np.uint8), np.full((15, 2), 20.0))
        for key, (h, w) in enumerate(sizes)
    ]


def examples(sizes: Sequence[tuple[int, int]]) -> Example:
    count, pose = len(sizes), torch.full((len(sizes), 15, 2), 20.0, dtype=torch.float64)
    canvases, starts = torch.zeros(count, *CANVAS, 3, dtype=torch.uint8), torch.zeros(count, 2, dtype=torch.int64)
    labelled = torch.ones(count, 15, dtype=torch.bool)
    ignored = torch.zeros(count, CANVAS[0] // 16 * 2, CANVAS[1] // 16 * 2, dtype=torch.bool)
    scales = torch.ones(count, dtype=torch.float64)
    colours = torch.tensor([[1.1, 0.9, 1.2, 0.02]], dtype=torch.float64).expand(count, 4)
    scores = torch.ones(count, 15, dtype=torch.float64)
    tensors: Any = (canvases, torch.tensor(sizes), starts, pose, pose, scales, scores, labelled, ignored, colours)
    return Example(*tensors)


def refined(
    network: Callable[[], Refiner], sizes: Sequence[tuple[int, int]], precision: str, fake: Fake
) -> tuple[list[RefinedPose | PassedThrough], list[PaddedBatch]]:
    """Refines people on "cuda" and returns the results, and the batches that the network saw."""
    batches: list[PaddedBatch] = []

    def predict(batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        batches.append(batch)
        return PoseRefiner.predict(engine, batch)

    with fake:
        engine = PoseRefiner(network(), "cuda", precision, iterations=2)
        engine.predict = predict  # type: ignore[method-assign]
        return list(engine.refine(people(sizes))), batches


def trained(
    network: Callable[[], Refiner], sizes: Sequence[tuple[int, int]], fake: Fake, **changes: Any
) -> tuple[Trainer, list[PaddedBatch]]:
    """Does two steps, each in two parts, and returns the batches that the network saw, too."""
    settings = {"steps": 4, "batch_size": 4, "accumulate": 2, "batch_norm": "live", "precision": "tf32", "ema": 0.9}
    settings |= {"max_gradient_norm": 1.0, "workers": 0, "validate_every": 9, "checkpoint_every": 9, "log_every": 9}
    made, batches = examples(sizes), []
    with fake:
        optimizer = partial(torch.optim.AdamW, lr=0.0)
        own = Settings.model_validate({**settings, **changes})
        trainer = Trainer(network(), optimizer, WarmUpCosine(0.1, 2), own, torch.device("meta"), ALONE)
        trainer.network.register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0]))
        for _ in range(2):
            losses, _ = trainer.step([made, made])
            assert losses.total.device.type == "meta"
    return trainer, batches


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
@pytest.mark.parametrize(("sizes", "precision"), [(SAME, "auto"), (UNEQUAL, "auto"), (UNEQUAL, "fp16")])
def test_refining(network: Callable[[], Refiner], sizes: list[tuple[int, int]], precision: str, fake: Fake) -> None:
    results, batches = refined(network, sizes, precision, fake)
    assert [type(result) for result in results] == [RefinedPose, RefinedPose]
    assert [batch.tensors.device.type for batch in batches] == ["cuda", "cuda"]  # both people in two passes
    assert [batch.is_padded for batch in batches] == [sizes == UNEQUAL] * 2


@pytest.mark.parametrize(
    ("network", "sizes", "batch_norm"),
    [
        ("resnet", SAME, "live"),
        ("resnet", UNEQUAL, "live"),
        ("resnet", UNEQUAL, "frozen"),
        ("torchvision", UNEQUAL, "live"),
    ],
)
def test_training(network: str, sizes: list[tuple[int, int]], batch_norm: str, fake: Fake) -> None:
    trainer, batches = trained(NETWORKS[network], sizes, fake, batch_norm=batch_norm)
    assert [batch.is_padded for batch in batches] == [sizes == UNEQUAL] * 4
    for own in (trainer.network, trainer.averaged):
        assert {tensor.device.type for tensor in own.state_dict().values()} == {"meta"}


class TestWaits:
    """For the device: none in a step."""

    def of_steps(self, fake: Fake, sizes: list[tuple[int, int]], **changes: Any) -> list[str]:
        trainer, _ = trained(small_network, sizes, fake, **changes)
        fake.waits.clear()
        with fake:
            made = examples(sizes)
            for _ in range(3):
                trainer.step([made, made])
        return fake.waits

    @pytest.mark.parametrize("sizes", [SAME, UNEQUAL])
    @pytest.mark.parametrize("batch_norm", ["live", "frozen"])
    def test_there_are_none(self, sizes: list[tuple[int, int]], batch_norm: str, fake: Fake) -> None:
        assert self.of_steps(fake, sizes, batch_norm=batch_norm) == []

    def test_a_look_is_one(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer, _ = trained(small_network, SAME, fake)
        fake.waits.clear()
        with fake:
            trainer.look()
        assert set(fake.waits) == {"aten._local_scalar_dense.default"}

    def test_one_is_found(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        average = AveragedWeights.update
        count = torch.zeros((), device="meta")

        def update(own: AveragedWeights, network: Refiner, steps: int) -> None:
            average(own, network, int(count))

        monkeypatch.setattr(AveragedWeights, "update", update)
        assert self.of_steps(fake, SAME) == ["aten._local_scalar_dense.default"] * 3


class TestATensorOnTheWrongDevice:
    """Is found, wherever it is made."""

    def without_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arange = torch.arange

        def on_the_cpu(*numbers: int, device: object = None) -> Tensor:
            return arange(*numbers)

        monkeypatch.setattr(torch, "arange", on_the_cpu)

    def masks_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hpr.models.padding.rectangles", lambda *arguments: rectangles(*arguments).cpu())

    @pytest.mark.parametrize("defect", ["without_device", "masks_on_the_cpu"])
    def test_refining(self, defect: str, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        getattr(self, defect)(monkeypatch)
        with pytest.raises(RuntimeError, match=WRONG):
            refined(small_network, UNEQUAL, "auto", fake)

    @pytest.mark.parametrize("defect", ["without_device", "masks_on_the_cpu"])
    def test_training(self, defect: str, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        getattr(self, defect)(monkeypatch)
        with pytest.raises(RuntimeError, match=WRONG):
            trained(small_network, UNEQUAL, fake)

    def test_a_result_that_is_not_brought_back(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Tensor, "cpu", lambda tensor: tensor)
        with pytest.raises(TypeError, match="can't convert cuda device type tensor"):
            refined(small_network, SAME, "auto", fake)
