"""The photograph refiner: MoveNet's features of a crop of one size, the pose at three strides, maps at stride 4."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpr import codec
from hpr.codec import FINE_GRID, Targets
from hpr.models.backbones.movenet import MoveNet, Pyramid, fold_scales, upsampled
from hpr.models.batch_norm import ConvNorm
from hpr.models.network import Lengths, Prediction, Refiner
from hpr.models.padding import PaddedBatch
from hpr.skeleton import Skeleton

_SIZE_PER_SIDE = 0.41
"""Square root of a person's area per side of their crop: of 0.53 of a box with sides 1 to 2 that fills 0.8 of it."""

_LOGIT_PRIOR = -4.0
"""Training starts from this logit in every cell, since few cells are near a keypoint."""

_RGB_UNIT = 127.5
"""Mean and divisor of RGB: MoveNet sees values from -1 to 1."""


class Convolution(ConvNorm):
    """A convolution with batch norm and ReLU; maps (B, in, h, w) to (B, out, h, w)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, activation="relu")


class Residual(ConvNorm):
    """A 3×3 convolution with batch norm, a shortcut around both, and ReLU; maps (B, C, h, w) to the same shape."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__(channels, channels, 3, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, activation="relu", shortcut=x)


class PoseHead(nn.Module):
    """Joins features and pose maps at strides 16, 8 and 4, from coarse to fine."""

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        coarse, middle, fine = 128, 96, 48
        self.coarse_stage = Convolution(168, 64, 1)
        self.coarse = nn.Sequential(
            Convolution(64 + 64 + keypoints, coarse, 3), Residual(coarse), Residual(coarse, 2), Residual(coarse)
        )
        self.coarse_out = Convolution(coarse, 64, 1)
        self.middle_stage = Convolution(56, 32, 1)
        self.middle = nn.Sequential(
            Convolution(64 + 24 + 32 + keypoints, middle, 3), Residual(middle), Residual(middle, 2)
        )
        self.middle_out = Convolution(middle, fine, 1)
        self.fine = nn.Sequential(Convolution(fine + 24 + keypoints, fine, 3), Residual(fine), Residual(fine))
        self.out = nn.Conv2d(fine, 3 * keypoints, 1)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.out.bias[:keypoints], _LOGIT_PRIOR)  # type: ignore[index]

    def forward(self, features: Pyramid, maps: Tensor) -> Tensor:
        """Maps features and pose maps (B, K, H / 4, W / 4) in 0..1 to logits and offsets (B, 3 * K, H / 4, W / 4)."""
        middle_maps = F.avg_pool2d(maps, 2)  # (B, K, H / 8, W / 8)
        coarse_maps = F.avg_pool2d(middle_maps, 2)

        x = torch.cat([features.coarse, self.coarse_stage(features.coarse_stage), coarse_maps], dim=1)
        x = upsampled(self.coarse_out(self.coarse(x)))
        x = torch.cat([x, features.middle, self.middle_stage(features.middle_stage), middle_maps], dim=1)
        x = upsampled(self.middle_out(self.middle(x)))
        x = torch.cat([x, features.fine, maps], dim=1)
        return torch.as_tensor(self.out(self.fine(x)))


class PhotoRefiner(Refiner):
    """A refiner for photographs; the interface is that of `Refiner`, with crops of one size and a finer grid.

    The image alone goes through the backbone; the head sees the pose.
    """

    grid = FINE_GRID
    canvas = (256, 256)

    def __init__(self, skeleton: Skeleton) -> None:
        """Builds the network with random weights."""
        super().__init__(lambda channels: MoveNet(), skeleton, input_kind="gaussians")
        self.set_input_mean([_RGB_UNIT] * 3 + [0.0] * len(skeleton))
        cells = max(self.canvas) / self.grid.stride
        self._spreads = 2 * torch.tensor(skeleton.sigmas, dtype=torch.float32) * _SIZE_PER_SIDE * cells  # (K,)

    def _add_heads(self) -> None:
        self.pose_head = PoseHead(len(self.skeleton))

    def forward(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """See `Refiner`; crops have sides that are multiples of 32 and fill their canvas."""
        dtype = self.pose_head.out.weight.dtype
        images = (batch.tensors[:, :3] - self.input_mean[:, :3]) / _RGB_UNIT
        maps = codec.mean_of_cells(batch.tensors[:, 3:]) / codec.DISC_VALUE  # their input mean is 0
        images, maps = (x.to(dtype, memory_format=torch.channels_last) for x in (images, maps))
        output = self.pose_head(self.backbone(images), maps)
        return output[:, : len(self.skeleton)], output[:, len(self.skeleton) :]

    def heatmap_size(self, pixels: Lengths) -> Lengths:
        return pixels // self.grid.stride

    def targets(self, truth: Tensor, cells: Tensor, jitter: Tensor, labelled: Tensor, ignored: Tensor) -> Targets:
        return codec.gaussian_targets(truth, cells, labelled, ignored)

    def decode(self, parts: Tensor, offsets: Tensor, maps: Tensor) -> Prediction:
        return Prediction(*codec.decode_similarity(parts, offsets, maps, self._spreads))

    def fold_batch_norms(self) -> None:
        fold_scales(self.backbone)
        super().fold_batch_norms()
