"""torchvision's ResNets: other strides and another max pool than the published network's."""

from functools import partial

import torchvision
from torch import Tensor, nn

from hpr.models.batch_norm import BatchNorm
from hpr.models.masking import MaskedLayers
from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.registry import Architecture, register

_LAYERS = ("bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class TorchvisionResNet(Backbone):
    """Stem and layers at torchvision's own strides, up to stride 16.

    Of basic blocks, which know no dilation, there are three layers; of bottlenecks four, the last one with dilation in
    place of its stride.
    """

    first_kernel = "stem.weight"

    def __init__(self, in_channels: int, name: str) -> None:
        """Builds one with random weights.

        Args:
            in_channels: Of the input.
            name: Of torchvision's model.
        """
        super().__init__()
        is_deep = name != "resnet18"
        strides = {"replace_stride_with_dilation": [False, False, True]} if is_deep else {}
        resnet = torchvision.models.get_model(name, weights=None, norm_layer=BatchNorm, **strides)
        self.stem = nn.Conv2d(in_channels, resnet.conv1.out_channels, 7, stride=2, padding=3, bias=False)
        self.layers = MaskedLayers(*(getattr(resnet, layer) for layer in (_LAYERS if is_deep else _LAYERS[:-1])))
        self.out_channels = 2048 if is_deep else 256
        self.torchvision_model = name

    def forward(self, batch: PaddedBatch) -> Tensor:
        """See `Backbone`."""
        features: Tensor = self.layers(self.stem(batch.tensors), batch)
        return features

    def torchvision_name(self, name: str) -> str:
        """See `Backbone`."""
        first, _, rest = name.partition(".")
        if first == "stem":
            return f"conv1.{rest}"
        place, _, rest = rest.partition(".")
        return f"{_LAYERS[int(place)]}.{rest}"


for _name in ("resnet18", "resnet50", "resnet101"):
    register(f"torchvision_{_name}", Architecture(partial(TorchvisionResNet, name=_name)))
