"""The loss of maps of places, of which coordinates are the mean (PoseFix, CVPR 2019)."""

import torch
from torch import Tensor

from hpr.heatmaps import OFFSET_UNIT, STRIDE, Targets, integrated


def place_losses(logits: Tensor, targets: Targets) -> Tensor:
    """Returns the losses of each keypoint's map of places, for as many entries as its offsets would have.

    PoseFix's two terms: the cross-entropy between the map's softmax over the crop's own cells and a target that the
    four cells about the keypoint share, and the distances of x and y, in cells, between the mean place and the true
    one. They count as often as there would be offsets to learn, so that they are divided by the same number.

    Args:
        logits: (B, K, h, w) fp32.
        targets: What the network should return.

    Returns:
        (B, K), 0 for keypoints that are not there.
    """
    own = targets.cells.amax(dim=1, keepdim=True) > 0  # (B, 1, h, w)
    logits = logits.masked_fill(~own, -torch.inf)
    entries = _by_axis(targets.offset_mask).sum(dim=(2, 3, 4))  # (B, K)
    truth = _true_places(targets)  # (B, K, 2) in cells from the first cell's centre

    found = (integrated(logits) - STRIDE / 2) / STRIDE
    distance = (found - truth).abs().sum(dim=-1).float()  # (B, K)
    return entries * (_cross_entropy(logits, truth, own) + distance)


def _true_places(targets: Targets) -> Tensor:
    """Returns where the keypoints are, (B, K, 2) float64 in cells, from the offsets to them; 0 where there are none."""
    height, width = targets.parts.shape[2:]
    mask = _by_axis(targets.offset_mask).double()
    offsets = _by_axis(targets.offsets).double() * (OFFSET_UNIT / STRIDE)
    columns, rows = (torch.arange(n, device=mask.device) for n in (width, height))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w)
    count = mask.sum(dim=(3, 4)).clamp(min=1)
    places: Tensor = ((offsets + grid) * mask).sum(dim=(3, 4)) / count
    return places


def _by_axis(maps: Tensor) -> Tensor:
    """Returns (B, 2 * K, h, w) maps, x and y of each keypoint in turn, as (B, K, 2, h, w)."""
    batch, count, height, width = maps.shape
    return maps.reshape(batch, count // 2, 2, height, width)


def _cross_entropy(logits: Tensor, truth: Tensor, own: Tensor) -> Tensor:
    """Returns (B, K), with a target that is shared by the four own cells about the true place (B, K, 2) in cells."""
    width = logits.shape[-1]
    # A keypoint may lie between the last cells' centres and the crop's border, or just beyond it.
    last = torch.stack([_last(own.any(dim=2)), _last(own.any(dim=3))], dim=-1)  # (B, 1, 2)
    inside = torch.minimum(truth.clamp(min=0), last)
    low = torch.minimum(inside.floor(), (last - 1).clamp(min=0)).long()  # (B, K, 2)
    high = torch.minimum(low + 1, last)
    share = (inside - low).clamp(0, 1).float()

    logarithms = logits.flatten(2).log_softmax(dim=-1)
    total = torch.zeros_like(share[..., 0])
    for x, x_share in ((low[..., 0], 1 - share[..., 0]), (high[..., 0], share[..., 0])):
        for y, y_share in ((low[..., 1], 1 - share[..., 1]), (high[..., 1], share[..., 1])):
            places = (y * width + x)[..., None]  # (B, K, 1)
            total = total - x_share * y_share * logarithms.gather(-1, places)[..., 0]
    return total


def _last(own: Tensor) -> Tensor:
    """Returns (B, 1) the last place where (B, 1, n) is true; regions that do not count may be holes before it."""
    return (own * torch.arange(own.shape[-1], device=own.device)).amax(dim=-1)
