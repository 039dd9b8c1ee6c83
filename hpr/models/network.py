"""The refinement network: image and keypoint discs in, part logits and offsets out (docs/published.md, section 1)."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hpr.crops import MEAN_HEAD
from hpr.codec import STRIDE, swap_sides
from hpr.models.padding import PaddedBatch, mirror_columns
from hpr.poses import IntArray
from hpr.settings import InputKind
from hpr.skeleton import POSETRACK15, Skeleton

_KEYPOINT_CELLS = 0.005

_RGB_MEAN = (116.09278225718839, 105.26649931421154, 95.95121967680349)

# Of the maps of POSETRACK15 with their values 0 and 255.
_DISC_MEANS = (
    *(0.34951943619606246, 0.40976568213517184, 0.49123806705952289, 0.49591614990476218, 0.41450376653672544),
    *(0.34958344479290787, 0.43501551652668358, 0.44672932998708459, 0.54594911643432331, 0.54738354284274893),
    *(0.45025940240059453, 0.43717204733646525, 0.4953665988006844, 0.57728900796096794, 0.48184625109052492),
)

Lengths = TypeVar("Lengths", int, Tensor)


class Backbone(nn.Module):
    """What makes features of crops. A new one is a module in `hpr/models/backbones`.

    Attributes:
        stride: Pixels per cell of the features.
        out_channels: Of the features.
        placement_room: Most pixels by which `placement` moves a crop.
        first_kernel: Name of the kernel, of the one convolution that sees the input.
        exports_any_size: Whether one ONNX file can be for crops of any size.
        torchvision_model: Whose ImageNet weights training can start from; empty where there are none.
    """

    stride: int = 16
    placement_room: int = 0
    first_kernel: str = ""
    exports_any_size: bool = True
    torchvision_model: str = ""
    out_channels: int

    def placement(self, sizes: IntArray) -> IntArray:
        """Returns where crops of sizes (B, 2) have to begin on a larger canvas, (B, 2), to come out as if alone."""
        return np.zeros_like(sizes)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Maps crops (B, in, H, W) to features (B, out_channels, ceil(H / stride), ceil(W / stride)) in the corner.

        Each crop's features are those of the crop alone, and 0 beyond its border.
        """
        raise NotImplementedError

    def torchvision_name(self, name: str) -> str:
        """Returns what torchvision calls one of the backbone's tensors."""
        return name

    def fold_batch_norms(self) -> None:
        """Replaces convolutions with batch norm by one convolution each that computes the same, where it can."""


class Refiner(nn.Module):
    """A backbone over the image and the drawn pose, with one head for the parts and one for their offsets.

    The published network has a stem for the image and one for the maps and adds them up, which is the one stem over
    all 3 + K channels here.

    Attributes:
        skeleton: Of the poses it refines.
        mean_head: See `registry.Architecture`.
        input_kind: How poses are drawn for it.
        input_mean: (1, 3 + K, 1, 1), what is subtracted from the input.
        unmeasured: Places of the keypoints whose mean is a guess until it is measured.
    """

    input_mean: Tensor

    def __init__(
        self,
        backbone: Callable[[int], Backbone],
        skeleton: Skeleton,
        mean_head: float = MEAN_HEAD,
        input_kind: InputKind = "discs",
    ) -> None:
        """Builds the network.

        Args:
            backbone: Builds the backbone for a number of input channels.
            skeleton: Of the K keypoints.
            mean_head: See `registry.Architecture`.
            input_kind: How poses are drawn for it.
        """
        super().__init__()
        self.skeleton, self.mean_head, self.input_kind = skeleton, mean_head, input_kind
        self.unmeasured = [
            place
            for place, name in enumerate(skeleton.names)
            if name not in POSETRACK15 or input_kind != "discs"
        ]
        mean = torch.tensor(input_means(skeleton)).view(1, -1, 1, 1)
        self.register_buffer("input_mean", mean, persistent=False)
        self.backbone = backbone(3 + len(skeleton))
        if self.backbone.stride != 2 * STRIDE:
            raise ValueError(f"backbone: expected a stride of {2 * STRIDE}, found {self.backbone.stride}")
        self.part_head = Upsampling(self.backbone.out_channels, len(skeleton))
        self.offset_head = Upsampling(self.backbone.out_channels, 2 * len(skeleton))
        # Of all cells, about this share is near a given keypoint: training starts from "nowhere" instead of "maybe".
        nn.init.constant_(self.part_head.get_parameter("bias"), math.log(_KEYPOINT_CELLS / (1 - _KEYPOINT_CELLS)))

    def forward(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Runs the network.

        Args:
            batch: (B, 3 + K, H, W), RGB and the keypoints' maps in 0..255, as from `codec.network_input`.

        Returns:
            Part logits (B, K, h, w) and offsets (B, 2 * K, h, w), x and y of each keypoint in turn, in units of
            `codec.OFFSET_UNIT` pixels; h and w are `heatmap_size` of H and W.
        """
        inputs = batch.tensors - self.input_mean
        if batch.is_padded:
            inputs = inputs * batch.valid()
        features = self.backbone(batch.with_tensors(inputs.to(self.part_head.weight.dtype)))
        return self.part_head(features), self.offset_head(features)

    def heatmap_size(self, pixels: Lengths) -> Lengths:
        """Returns how many cells the heatmaps have along a side, or sides, of so many pixels."""
        return 2 * ((pixels + self.backbone.stride - 1) // self.backbone.stride)

    def mirror_heatmaps(self, parts: Tensor, batch: PaddedBatch) -> Tensor:
        """Mirrors heatmaps (B, K, h, w) of a batch left to right, each crop's own cells, and swaps left and right."""
        swapped = swap_sides(parts, self.skeleton)
        if not batch.is_padded:
            return swapped.flip(-1)
        lengths = self.heatmap_size(batch.sizes[:, 1])
        return mirror_columns(swapped, torch.zeros_like(lengths), lengths)

    def mirror_inputs(self, batch: PaddedBatch) -> PaddedBatch:
        """Mirrors inputs (B, 3 + K, H, W) left to right, each crop within its place, and swaps left and right discs."""
        channels = [0, 1, 2, *(3 + keypoint for keypoint in self.skeleton.mirror)]
        return batch.with_tensors(batch.tensors[:, channels]).mirrored()

    def set_input_mean(self, mean: Sequence[float]) -> None:
        """Sets what is subtracted from R, G, B and the K maps, known from now on."""
        self.input_mean.copy_(torch.tensor(mean).view(1, -1, 1, 1))
        self.unmeasured = []

    def compute_in(self, dtype: torch.dtype) -> None:
        """Converts all but the input's normalisation, whose fractions lower precisions would lose."""
        for part in (self.backbone, self.part_head, self.offset_head):
            part.to(dtype)


class Upsampling(nn.ConvTranspose2d):
    """A 3×3 transposed convolution of stride 2 with TensorFlow's SAME padding: exactly twice the input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (B, in, h, w) to (B, out, 2h, 2w)."""
        return super().forward(x)[:, :, :-1, :-1]


def input_means(skeleton: Skeleton) -> list[float]:
    """Returns what is subtracted from R, G and B and from each keypoint's map.

    The published means by name; a keypoint that the published network does not have gets their mean, which training
    replaces by what it measures.
    """
    published = dict(zip(POSETRACK15.names, _DISC_MEANS, strict=True))
    other = sum(_DISC_MEANS) / len(_DISC_MEANS)
    return [*_RGB_MEAN, *(published.get(name, other) for name in skeleton.names)]
