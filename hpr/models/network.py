"""The refinement network: image and keypoint discs in, part logits and offsets out (docs/published.md, section 1)."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hpr import codec
from hpr.codec import PUBLISHED_GRID, Grid, Targets, swap_sides
from hpr.crops import MEAN_HEAD
from hpr.errors import UserError
from hpr.models.batch_norm import ConvNorm
from hpr.models.padding import PaddedBatch, mirror_columns
from hpr.models.weights import Tensors
from hpr.poses import IntArray
from hpr.settings import InputKind
from hpr.skeleton import POSETRACK15, Skeleton

_RGB_MEAN = (116.09278225718839, 105.26649931421154, 95.95121967680349)
"""Published mean of R, G and B in 0..255."""

_DISC_MEANS = (
    *(0.34951943619606246, 0.40976568213517184, 0.49123806705952289, 0.49591614990476218, 0.41450376653672544),
    *(0.34958344479290787, 0.43501551652668358, 0.44672932998708459, 0.54594911643432331, 0.54738354284274893),
    *(0.45025940240059453, 0.43717204733646525, 0.4953665988006844, 0.57728900796096794, 0.48184625109052492),
)
"""Published means of the disc maps of POSETRACK15, whose values are 0 and 255."""

_KEYPOINT_SHARE = 0.005
"""Share of all heatmap cells that are near a given keypoint, roughly."""

PRETRAINED = "pretrained"
"""Value of `model.weights` for the ImageNet weights that a backbone's library loads from its cache or downloads."""

Lengths = TypeVar("Lengths", int, Tensor)


class Prediction(NamedTuple):
    """Poses of B people.

    Attributes:
        keypoints: (B, K, 2) in crop_xy.
        confidence: (B, K), 0 to 1.
        support: (B, K) how far the network agrees with the estimate's positions, 0 to 1; None where it does not tell.
    """

    keypoints: Tensor
    confidence: Tensor
    support: Tensor | None = None


class Backbone(nn.Module):
    """Maps crops to features. A new one is a class like this and an entry in `registry.ARCHITECTURES`.

    Attributes:
        stride: Pixels per feature cell.
        out_channels: Number of feature channels.
        placement_room: Largest number of pixels by which `placement` moves a crop.
        input_kernels: Names of the convolution kernels (out, in, h, w) that see the input.
        exports_any_size: Whether one ONNX file can serve crops of any size.
    """

    stride: int = 16
    placement_room: int = 0
    input_kernels: tuple[str, ...] = ()
    exports_any_size: bool = True
    out_channels: int

    def placement(self, sizes: IntArray) -> IntArray:
        """Returns the first rows and columns (B, 2) on a canvas at which crops of sizes (B, 2) come out as alone."""
        return np.zeros_like(sizes)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Maps crops (B, in, H, W) to features (B, out_channels, ceil(H / stride), ceil(W / stride)).

        The features of each crop begin in the corner, equal those of the crop alone, and are 0 beyond its border.
        """
        raise NotImplementedError

    def pretrained(self, source: str | Path) -> tuple[Tensors, Sequence[float]]:
        """Returns ImageNet weights for training to start from.

        Args:
            source: `PRETRAINED`, or a file of weights from the library that the backbone is from.

        Returns:
            The backbone's tensors by name, with input kernels for RGB (out, 3, h, w), and the mean of R, G and B in
            0..255 that has to be subtracted from their input.

        Raises:
            UserError: The backbone has no such weights, or they cannot be loaded.
        """
        raise UserError(f"model.weights={source}: only timm's networks start from such weights; set model=timm")


class Refiner(nn.Module):
    """A backbone over the image and the drawn pose, with one head for part logits and one for offsets.

    The published network has one stem for the image and one for the maps and adds their outputs up. That is the same
    as the one stem over all 3 + K channels here.

    Attributes:
        skeleton: Keypoints of the poses that the network refines.
        mean_head: See `registry.Architecture`.
        input_kind: How poses are drawn for the network.
        input_mean: (1, 3 + K, 1, 1), subtracted from the input.
        unmeasured: Indices of the keypoints whose mean is a guess until training has measured it.
        grid: Where the heatmaps' cells lie in a crop.
        canvas: Height and width of all crops, which people are fitted into (`crops.canvas_crop`); None for crops of any
            size in which people have the standard size.
    """

    input_mean: Tensor
    grid: Grid = PUBLISHED_GRID
    canvas: tuple[int, int] | None = None

    def __init__(
        self,
        backbone: Callable[[int], Backbone],
        skeleton: Skeleton,
        mean_head: float = MEAN_HEAD,
        input_kind: InputKind = "discs",
    ) -> None:
        """Builds the network with random weights; `backbone` builds its backbone for a number of input channels."""
        super().__init__()
        self.skeleton, self.mean_head, self.input_kind = skeleton, mean_head, input_kind

        has_published_means = input_kind == "discs"
        self.unmeasured = [
            index for index, name in enumerate(skeleton.names) if not (has_published_means and name in POSETRACK15)
        ]
        mean = torch.tensor(input_means(skeleton)).view(1, -1, 1, 1)
        self.register_buffer("input_mean", mean, persistent=False)

        self.backbone = backbone(3 + len(skeleton))
        self._add_heads()

    def _add_heads(self) -> None:
        """Adds the layers after the backbone."""
        if self.backbone.stride != 2 * self.grid.stride:
            raise ValueError(f"backbone: expected a stride of {2 * self.grid.stride}, found {self.backbone.stride}")
        self.part_head = Upsampling(self.backbone.out_channels, len(self.skeleton))
        self.offset_head = Upsampling(self.backbone.out_channels, 2 * len(self.skeleton))

        # Training starts from the prior probability of a cell instead of from 0.5.
        prior = math.log(_KEYPOINT_SHARE / (1 - _KEYPOINT_SHARE))
        nn.init.constant_(self.part_head.get_parameter("bias"), prior)

    def forward(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Runs the network.

        Args:
            batch: (B, 3 + K, H, W), RGB and the keypoints' maps in 0..255, as from `codec.network_input`.

        Returns:
            Part logits (B, K, h, w) and offsets (B, 2 * K, h, w), x and y of each keypoint in turn, in the
            grid's units; h and w are `heatmap_size` of H and W.
        """
        pixels = batch.tensors.contiguous(memory_format=torch.channels_last)  # while they are bytes
        inputs = pixels - self.input_mean
        if batch.is_padded:
            inputs = inputs * batch.valid()

        features = self.backbone(batch.with_tensors(inputs.to(self.part_head.weight.dtype)))
        return self.part_head(features), self.offset_head(features)

    def heatmap_size(self, pixels: Lengths) -> Lengths:
        """Returns the number of heatmap cells along sides of given lengths in pixels."""
        return 2 * ((pixels + self.backbone.stride - 1) // self.backbone.stride)

    def targets(self, truth: Tensor, cells: Tensor, jitter: Tensor, labelled: Tensor, ignored: Tensor) -> Targets:
        """Makes the training targets of true poses; see `codec.targets`."""
        return codec.targets(truth, cells, jitter, labelled, ignored)

    def decode(self, parts: Tensor, offsets: Tensor, maps: Tensor) -> Prediction:
        """Reads poses off probabilities and offsets; `maps` (B, K, H, W) are those of the input."""
        return Prediction(*codec.decode(parts, offsets))

    def fold_batch_norms(self) -> None:
        """Replaces each `ConvNorm` by one equivalent convolution, for inference."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()

    def mirror_heatmaps(self, parts: Tensor, batch: PaddedBatch) -> Tensor:
        """Mirrors heatmaps (B, K, h, w) left to right within each crop's own cells and swaps left and right."""
        swapped = swap_sides(parts, self.skeleton)
        if not batch.is_padded:
            return swapped.flip(-1)

        widths = self.heatmap_size(batch.sizes[:, 1])  # (B,)
        return mirror_columns(swapped, torch.zeros_like(widths), widths)

    def mirror_inputs(self, batch: PaddedBatch) -> PaddedBatch:
        """Mirrors inputs (B, 3 + K, H, W) left to right within each crop and swaps the maps of left and right."""
        channels = [0, 1, 2, *(3 + keypoint for keypoint in self.skeleton.mirror)]
        return batch.with_tensors(batch.tensors[:, channels]).mirrored()

    def set_input_mean(self, mean: Sequence[float]) -> None:
        """Sets the measured mean (3 + K,) of R, G, B and the keypoints' maps."""
        self.input_mean.copy_(torch.tensor(mean).view(1, -1, 1, 1))
        self.unmeasured = []

    @property
    def sees_scores(self) -> bool:
        """Whether keypoints with low scores are drawn darker for the network."""
        return self.input_kind != "discs"

    def compute_in(self, dtype: torch.dtype) -> None:
        """Converts the layers; the input mean stays in fp32, since lower precisions would lose its fractions."""
        for part in self.children():
            part.to(dtype)


class Upsampling(nn.ConvTranspose2d):
    """A 3×3 transposed convolution of stride 2 with TensorFlow's SAME padding: exactly twice the input's size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (B, in, h, w) to (B, out, 2h, 2w)."""
        return super().forward(x)[:, :, :-1, :-1]


def input_means(skeleton: Skeleton) -> list[float]:
    """Returns the default means (3 + K,) of R, G, B and of each keypoint's map.

    Keypoints of the published network have their published mean. Others have the average of these, which training
    replaces by what it measures.
    """
    published = dict(zip(POSETRACK15.names, _DISC_MEANS, strict=True))
    average = sum(_DISC_MEANS) / len(_DISC_MEANS)
    return [*_RGB_MEAN, *(published.get(name, average) for name in skeleton.names)]
