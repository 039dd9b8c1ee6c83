"""Colour augmentation of a batch's crops on any device: brightness, contrast, saturation and hue."""

import math

import torch
from torch import Tensor

from hpr.codec import rectangles

UNCHANGED = (1.0, 1.0, 1.0, 0.0)
"""Factors of brightness, contrast and saturation, and a hue shift, that leave colours as they are."""

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""

_TO_YIQ = torch.tensor([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
"""From RGB to NTSC's luma and two colour differences: a rotation in the plane of these changes only the hue."""

_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


def adjust_colours(pixels: Tensor, colours: Tensor, sizes: Tensor, starts: Tensor, is_padded: bool) -> Tensor:
    """Changes the colours of crops on their canvases; the padding around the crops stays 0.

    Brightness, contrast about the crop's mean grey, saturation and hue are applied in this order, as in torchvision's
    ColorJitter. They are one linear map here, so that values are clamped only once, and the hue is rotated about grey
    at constant luma instead of in HSV.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        colours: (B, 4) float64 on the host: factors of brightness, contrast and saturation, and the hue shift.
        sizes: (B, 2) height and width of each crop.
        starts: (B, 2) first row and column of each crop on its canvas.
        is_padded: Whether any crop is smaller than the canvas.

    Returns:
        (B, H, W, 3) uint8.
    """
    brightness, contrast, saturation, hue = colours.unbind(dim=1)  # (B,) each
    gain = brightness * contrast
    maps = (gain[:, None, None] * _chroma_maps(saturation, hue)).float().to(pixels.device, non_blocking=True)
    share = (brightness - gain).float().to(pixels.device, non_blocking=True)

    values = pixels.float()
    red, green, blue = values.sum(dim=(1, 2)).unbind(dim=1)  # padding is 0 and adds nothing
    grey = (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue) / sizes.prod(dim=1)  # (B,)
    level = (share * grey)[:, None, None]
    changed = torch.baddbmm(level, values.flatten(1, 2), maps.transpose(1, 2)).view_as(values)
    changed = changed.round_().clamp_(0, 255).byte()

    if is_padded:
        _, height, width, _ = pixels.shape
        inside = rectangles(sizes, height, width, starts)  # (B, 1, H, W)
        changed *= inside.permute(0, 2, 3, 1)
    return changed


def _chroma_maps(saturation: Tensor, hue: Tensor) -> Tensor:
    """Returns maps of RGB (B, 3, 3) that scale and rotate the colour differences; grey stays as it is."""
    # From red, the hue grows towards yellow and green: against the order of the two colour differences.
    cosine, sine = (saturation * function(2 * math.pi * hue) for function in (torch.cos, torch.sin))
    one, zero = torch.ones_like(hue), torch.zeros_like(hue)
    rows = [one, zero, zero, zero, cosine, sine, zero, -sine, cosine]
    rotation: Tensor = torch.stack(rows, dim=1).view(-1, 3, 3)
    return torch.matmul(_FROM_YIQ, rotation) @ _TO_YIQ
