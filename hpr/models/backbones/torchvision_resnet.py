"""torchvision's ResNet-18 up to its third layer: small, and another network than the published one."""

from typing import Any

import torchvision
from torch import Tensor, nn

from hpr.models.batch_norm import BatchNorm
from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.registry import Architecture, register

_STRIDES = (1, 2, 4, 8, 16)


class TorchvisionResNet18(Backbone):
    """Stem and three layers of basic blocks, stride 16.

    Strided layers pad both ends of a side alike, so that crops may begin in the corner whatever their size. The layers
    that look around, and the batch norms, get the batch's valid mask of their own stride, which their input's size
    tells.
    """

    stride = 16
    out_channels = 256

    def __init__(self, in_channels: int) -> None:
        """Builds the network for a number of input channels, with random weights."""
        super().__init__()
        resnet = torchvision.models.resnet18(weights=None, norm_layer=BatchNorm)
        conv = resnet.conv1
        self.stem = nn.Conv2d(in_channels, conv.out_channels, 7, stride=2, padding=3, bias=False)
        layers = (resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, resnet.layer3)
        self.layers = nn.Sequential(*layers)
        self._masks: dict[tuple[int, int], Tensor] = {}
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                module.register_forward_pre_hook(self._mask_input)
            if isinstance(module, BatchNorm):
                module.register_forward_pre_hook(self._with_mask)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """See `Backbone`."""
        if batch.is_padded:
            masks = [batch.valid(stride).to(batch.tensors.dtype) for stride in _STRIDES]
            self._masks = {(mask.shape[2], mask.shape[3]): mask for mask in masks}
        try:
            features: Tensor = self.layers(self.stem(batch.tensors))
            return features * self._masks[features.shape[2], features.shape[3]] if self._masks else features
        finally:
            self._masks = {}

    def _mask_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        (x,) = inputs
        return (x * self._masks[x.shape[2], x.shape[3]],) if self._masks else inputs

    def _with_mask(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        (x,) = inputs
        return (x, self._masks[x.shape[2], x.shape[3]]) if self._masks else inputs


register("torchvision_resnet18", Architecture(TorchvisionResNet18))
