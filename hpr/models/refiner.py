"""The refinement network: image and joint maps in, part logits and location offsets out (REFERENCE.md, section 1)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hpr.models.architectures import Architecture, architecture
from hpr.models.resnet import ResNet
from hpr.skeleton import NUM_JOINTS

NUM_INPUTS = 3 + NUM_JOINTS

_JOINT_CELLS = 0.005

# Of R, G and B, then of the 15 joint maps with their values 0 and 255.
_INPUT_MEAN = (
    *(116.09278225718839, 105.26649931421154, 95.95121967680349),
    *(0.34951943619606246, 0.40976568213517184, 0.49123806705952289, 0.49591614990476218, 0.41450376653672544),
    *(0.34958344479290787, 0.43501551652668358, 0.44672932998708459, 0.54594911643432331, 0.54738354284274893),
    *(0.45025940240059453, 0.43717204733646525, 0.4953665988006844, 0.57728900796096794, 0.48184625109052492),
)


class Refiner(nn.Module):
    """A ResNet over the image and the drawn pose, with one head for the parts and one for their offsets.

    The published network has a stem for the image and one for the maps and adds them up, which is
    the one stem over all 18 channels here.
    """

    input_mean: Tensor

    def __init__(self, architecture: Architecture) -> None:
        """Builds the network."""
        super().__init__()
        self.mean_head = architecture.mean_head
        mean = torch.tensor(_INPUT_MEAN).view(1, NUM_INPUTS, 1, 1)
        self.register_buffer("input_mean", mean, persistent=False)
        self.backbone = ResNet(NUM_INPUTS, architecture.units, architecture.width)
        self.part_head = Upsampling(self.backbone.out_channels, NUM_JOINTS)
        self.offset_head = Upsampling(self.backbone.out_channels, 2 * NUM_JOINTS)
        # Of all cells, about this share is near a given joint: so training starts from "nowhere" instead of "maybe".
        nn.init.constant_(self.part_head.get_parameter("bias"), math.log(_JOINT_CELLS / (1 - _JOINT_CELLS)))

    def forward(
        self, inputs: Tensor, image: Tensor | None = None, inside: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the network.

        Args:
            inputs: (B, 18, H, W), RGB and joint maps in 0..255, as from `maps.network_input`.
            image: (B, 1, H, W), 1 where a crop has pixels, 0 where it has been padded; by default all pixels.
            inside: Likewise for the layers within, if their borders, too, are to be as those of the crop alone;
                see `ResNet.forward`.

        Returns:
            Part logits (B, 15, h, w) and offsets (B, 30, h, w), x and y of each joint in turn, in
            units of `maps.OFFSET_UNIT` pixels; h = 2 * ceil(H / 16), w = 2 * ceil(W / 16).
        """
        inputs = inputs - self.input_mean
        if image is not None:
            inputs = inputs * image
        features = self.backbone(inputs.to(self.part_head.weight.dtype), inside)
        return self.part_head(features), self.offset_head(features)

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


def build(architecture_name: str) -> Refiner:
    """Builds a network with random weights from the name of its architecture.

    Raises:
        UserError: There is no such architecture.
    """
    return Refiner(architecture(architecture_name))
