"""Any feature extractor of timm as a backbone at stride 16, with its ImageNet weights as a start for training.

timm's networks know nothing of crops on a larger canvas. Their convolutions, pools and batch norms can be masked by
hooks; global pooling (squeeze-and-excitation) and attention cannot. Each network is tried when it is built
(`TimmBackbone.is_maskable`); one that cannot be masked sees the crops of a padded batch one at a time.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpr.errors import UserError
from hpr.models.batch_norm import BatchNorm
from hpr.models.network import PRETRAINED, Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.weights import Tensors

_STRIDES = (1, 2, 4, 8, 16)

_ROUNDING = 2e-5
"""Largest difference between a crop alone and on a canvas, relative to the largest feature.

Networks that can be masked differ by up to 1e-6, those with global layers by 1e-4 to 0.5 (measured on 40 of timm's).
"""


class TimmBackbone(Backbone):
    """The layers of a timm network up to its last features at stride 16.

    Crops are filled up with zeros (the mean colour) to whole feature cells, alone as well as on a canvas: on sides
    that are multiples of 16, every kind of padding in timm's networks is the same wherever the canvas ends.

    Attributes:
        is_maskable: Whether masks keep what lies beyond a crop's border out of its features.
    """

    exports_any_size = False

    def __init__(self, in_channels: int, name: str) -> None:
        """Builds the backbone of a network that timm calls `name` with random weights.

        Raises:
            UserError: timm is not installed or has no such network with features at stride 16 of crops of any size.
        """
        super().__init__()
        self._name, self._masks = name, dict[tuple[int, int], Tensor]()
        self.network = _feature_extractor(name, in_channels)
        self.out_channels = int(self.network.feature_info.channels()[0])

        # timm says which convolutions see the input: one name or several.
        first = self.network.default_cfg["first_conv"]
        kernels = {_plain(f"{conv}.weight") for conv in ([first] if isinstance(first, str) else first)}
        own = [name for name, _ in self.network.named_parameters() if _plain(name) in kernels]
        self.input_kernels = tuple(f"network.{name}" for name in own)

        for parent in list(self.network.modules()):
            for part, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d) and child.affine and child.track_running_stats:
                    parent.add_module(part, BatchNormAct(child))

        for module in self.network.modules():
            if isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(partial(self._mask_input, is_max=True))
            elif isinstance(module, nn.AvgPool2d) or (isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1):
                module.register_forward_pre_hook(self._mask_input)
            elif isinstance(module, BatchNorm):
                module.register_forward_pre_hook(self._add_mask)
        self.is_maskable = self._try_masks(in_channels)

    def forward(self, batch: PaddedBatch) -> Tensor:
        height, width = batch.tensors.shape[2:]
        tensors = F.pad(batch.tensors, (0, -width % self.stride, 0, -height % self.stride))
        if not batch.is_padded:
            return self._features(tensors)

        sizes = (batch.sizes + self.stride - 1) // self.stride * self.stride  # (B, 2), whole cells
        batch = replace(batch, tensors=tensors, sizes=sizes)
        return self._masked_features(batch) if self.is_maskable else self._features_one_by_one(batch)

    def pretrained(self, source: str | Path) -> tuple[Tensors, Sequence[float]]:
        """Returns ImageNet weights for training to start from; see `Backbone`.

        timm's networks expect RGB in 0..1 minus a mean, divided by a standard deviation: both are in `default_cfg`. The
        mean is returned; the deviation is folded into the kernels that see the input.
        """
        is_file = source != PRETRAINED
        if is_file and not Path(source).is_file():
            raise UserError(f"{source}: no such weights; set model.weights")

        import timm

        try:
            # The whole network with its classifier: timm's feature extractors would skip tensors that do not fit.
            overlay = {"file": str(source)} if is_file else None
            whole = timm.create_model(self._name, pretrained=True, pretrained_cfg_overlay=overlay)
        except Exception as error:  # whatever timm, torch, safetensors or the hub raise
            where = source if is_file else f"model.weights={source}"
            raise UserError(f"{where}: no weights of timm's {self._name} ({_reason(error)}); use others") from None

        by_name = {_plain(name): tensor for name, tensor in whole.state_dict().items()}
        own = [name for name in self.network.state_dict() if not name.endswith("batches_tracked")]
        tensors = {f"network.{name}": by_name[_plain(name)].numpy() for name in own}

        config = self.network.default_cfg
        deviation = 255 * np.array(config["std"], np.float32)[:, None, None]  # (3, 1, 1)
        for name in self.input_kernels:
            tensors[name] = tensors[name] / deviation  # (out, 3, h, w)
        return tensors, [255 * value for value in config["mean"]]

    def _features(self, tensors: Tensor) -> Tensor:
        """Maps (B, in, H, W), whose sides are multiples of 16, to (B, out, H / 16, W / 16)."""
        (features,) = self.network(tensors)
        return torch.as_tensor(features)

    def _masked_features(self, batch: PaddedBatch) -> Tensor:
        """Maps all crops at once, telling each layer which cells are a crop's own."""
        masks = [batch.valid(stride) for stride in _STRIDES]
        # A layer finds its mask by the size of its input, which sides that are multiples of 16 make unique.
        self._masks = {(mask.shape[2], mask.shape[3]): mask for mask in masks}
        try:
            return self._features(batch.tensors).where(masks[-1], 0.0)
        finally:
            self._masks = {}

    def _features_one_by_one(self, batch: PaddedBatch) -> Tensor:
        """Maps each crop alone and puts its features into the corner of a map (B, out, H / 16, W / 16)."""
        if any(isinstance(module, BatchNorm) and module.training for module in self.network.modules()):
            raise UserError(
                f"model.architecture=timm/{self._name}: this network's features depend on the whole canvas, so that it "
                "sees one crop at a time, too few for live batch norms; set training.batch_norm=frozen or use another"
            )

        rows, columns = (side // self.stride for side in batch.tensors.shape[2:])
        features = []
        for crop, (height, width) in zip(batch.tensors, batch.sizes.tolist(), strict=True):
            own = self._features(crop[None, :, :height, :width])  # (1, out, h, w)
            features.append(F.pad(own, (0, columns - own.shape[3], 0, rows - own.shape[2])))
        return torch.cat(features)

    def _mask_input(self, module: nn.Module, inputs: tuple[Tensor], is_max: bool = False) -> tuple[Tensor]:
        """Replaces what lies beyond the crops' borders by what a layer pads with: 0, or the lowest number."""
        (x,) = inputs
        mask = self._masks.get((x.shape[2], x.shape[3]))
        return inputs if mask is None else (x.where(mask, torch.finfo(x.dtype).min if is_max else 0.0),)

    def _add_mask(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Gives a batch norm the valid mask."""
        (x,) = inputs
        return x, self._masks.get((x.shape[2], x.shape[3]))

    @torch.no_grad()
    def _try_masks(self, in_channels: int) -> bool:
        """Returns whether a crop on a canvas has the features that it has alone.

        Norms, biases and layer scales are random meanwhile: new networks set some to 0, which would hide whole layers.
        """
        state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for tensor in self.state_dict().values():
                if tensor.is_floating_point() and (tensor.ndim < 2 or tensor.min() == tensor.max()):
                    tensor.uniform_(0.5, 1.5)
            crop = torch.randn(1, in_channels, 32, 48)

        sizes, starts = torch.tensor([[32, 48]]), torch.zeros(1, 2, dtype=torch.int64)
        try:
            alone = self._features(crop)
            masked = self._masked_features(PaddedBatch(F.pad(crop, (0, 32, 0, 16)), sizes, starts))[:, :, :2, :3]
        except Exception as error:  # whatever a network raises at sizes that it does not take
            raise UserError(f"timm/{self._name}: does not take crops of any size ({_reason(error)})") from None
        self.load_state_dict(state)
        self.train()

        if alone.shape != (1, self.out_channels, 2, 3):
            raise UserError(f"timm/{self._name}: expected features at stride 16, found {tuple(alone.shape)} of 32×48")
        return bool((masked - alone).abs().max() <= _ROUNDING * alone.abs().max())


class BatchNormAct(BatchNorm):
    """Masked batch norm that replaces one of timm's, which may include dropout and an activation."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict(), strict=False)
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return torch.as_tensor(self.act(self.drop(super().forward(x, valid))))


def _feature_extractor(name: str, in_channels: int) -> Any:
    """Returns timm's feature extractor of a network with one output, its last features at stride 16.

    Raises:
        UserError: timm is not installed, does not have the network, or the network has no features at stride 16.
    """
    try:
        import timm
    except ImportError:
        raise UserError(f"timm/{name} needs timm, which is missing: pip install timm") from None

    try:
        with torch.device("meta"):
            info: Any = timm.create_model(name, features_only=True).feature_info
        strides = dict(zip(info.out_indices, info.reduction(), strict=True))
        last = [index for index, stride in strides.items() if stride == 16][-1:]
        if not last:
            raise ValueError(f"found strides {', '.join(str(stride) for stride in strides.values())}")
        return timm.create_model(name, features_only=True, out_indices=last, in_chans=in_channels)
    except Exception as error:  # each of timm's networks checks its arguments in its own way
        problem = f"expected a feature extractor of timm with features at stride 16 ({_reason(error)})"
        raise UserError(f"timm/{name}: {problem}; see timm.list_models()") from None


def _plain(name: str) -> str:
    """Returns a tensor's name in a form that timm's feature extractors and its whole networks have in common.

    The extractors replace some of the dots by underscores, and some have the whole network as their "model".
    """
    return name.removeprefix("model.").replace(".", "_")


def _reason(error: Exception) -> str:
    """Returns the beginning of an error's message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
