"""The training losses of the published graph (docs/published.md, section 5)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpr.codec import Targets

OFFSET_WEIGHT = 0.05


@dataclass(frozen=True)
class Losses:
    """The two terms of the loss.

    Attributes:
        part: Mean sigmoid cross-entropy over the cells that count, of all keypoints.
        offset: OFFSET_WEIGHT times the mean Huber distance of the offsets that have a target.
    """

    part: Tensor
    offset: Tensor

    @property
    def total(self) -> Tensor:
        """The loss that training minimises."""
        return self.part + self.offset


def refinement_losses(logits: Tensor, offsets: Tensor, targets: Targets, counts: Tensor | None = None) -> Losses:
    """Returns the losses of a batch.

    Args:
        logits: (B, K, h, w).
        offsets: (B, 2 * K, h, w).
        targets: Targets of the same shapes.
        counts: (2,), divisors of the two sums; by default `loss_counts` of this batch.
    """
    logits, offsets = logits.float(), offsets.float()
    weight = targets.cells
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets.parts, weight=weight, reduction="sum")
    distances = F.huber_loss(offsets, targets.offsets, reduction="none") * targets.offset_mask

    divisors = (loss_counts(targets) if counts is None else counts).clamp(min=1)
    return Losses(cross_entropy / divisors[0], OFFSET_WEIGHT * distances.sum() / divisors[1])


def loss_counts(targets: Targets) -> Tensor:
    """Returns (2,), the number of cells, over all keypoints, and of offsets that the losses are means over."""
    return torch.stack([targets.cells.sum(), targets.offset_mask.sum()])
