"""ConvNeXt (CVPR 2022), torchvision's, at stride 16."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import convnext_tiny
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from hpr.models.backbones.resnet import DEMO_MEAN_HEAD
from hpr.models.masking import MaskedLayers
from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.registry import Architecture, register

_STAGES = 6
"""Stem, three stages, and what halves the size between them."""


class ConvNeXt(Backbone):
    """Stem, three of the four stages, and the layer norm that the fourth would begin with.

    Strided convolutions do not overlap and have no padding: a crop is filled up with zeros to whole cells, and what is
    beyond its border is set to zero again before each convolution, also where it is alone. Layer norms are over the
    channels of one cell, so that there is nothing else that a canvas could change.
    """

    first_kernel = "layers.0.0.weight"
    exports_any_size = False

    def __init__(self, in_channels: int, model: Callable[..., TorchvisionConvNeXt], name: str = "") -> None:
        """Builds one with random weights.

        Args:
            in_channels: Of the input.
            model: Builds torchvision's. No block is left out by chance: processes of a training would draw others.
            name: Of torchvision's model; empty where it has none.
        """
        super().__init__()
        features = model(stochastic_depth_prob=0.0).features
        old = features[0][0]
        features[0][0] = nn.Conv2d(in_channels, old.out_channels, old.kernel_size, old.stride)
        norm = features[_STAGES][0]
        self.layers = MaskedLayers(*list(features)[:_STAGES], norm)
        self.out_channels = norm.normalized_shape[0]
        self.torchvision_model = name

    def forward(self, batch: PaddedBatch) -> Tensor:
        """See `Backbone`."""
        count, _, height, width = batch.tensors.shape
        own = batch
        if not batch.is_padded:
            sides = [torch.full((count,), side, device=batch.tensors.device) for side in (height, width)]
            own = replace(batch, sizes=torch.stack(sides, dim=1))
        room = (0, -width % self.stride, 0, -height % self.stride)
        filled = replace(own, tensors=F.pad(batch.tensors, room), is_padded=batch.is_padded or any(room))
        features: Tensor = self.layers(filled.tensors, filled)
        return features

    def torchvision_name(self, name: str) -> str:
        """See `Backbone`."""
        place, _, rest = name.removeprefix("layers.").partition(".")
        return f"features.{_STAGES}.0.{rest}" if int(place) == _STAGES else f"features.{place}.{rest}"


_DEMO = [CNBlockConfig(48, 96, 2), CNBlockConfig(96, 192, 2), CNBlockConfig(192, 384, 3), CNBlockConfig(384, None, 0)]

register("convnext_tiny", Architecture(partial(ConvNeXt, model=convnext_tiny, name="convnext_tiny")))
# With torchvision's 1e-6, blocks of a network that starts from nothing would do nothing for long.
_demo = partial(TorchvisionConvNeXt, _DEMO, layer_scale=0.1)
register("demo_convnext", Architecture(partial(ConvNeXt, model=_demo), DEMO_MEAN_HEAD))
