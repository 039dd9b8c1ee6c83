"""Layers of other libraries, told of each crop's own cells on a padded canvas."""

from typing import Any

from torch import Tensor, nn

from hpr.models.batch_norm import BatchNorm
from hpr.models.padding import PaddedBatch

_STRIDES = (1, 2, 4, 8, 16)


class MaskedLayers(nn.Sequential):
    """Layers up to a stride of 16 that give each crop of a padded batch the features that it has alone.

    What looks around, convolutions and max pools, gets zeros beyond a crop's border, as its own padding would; batch
    norms get the valid mask. Both are the batch's masks at the stride that the size of their input tells. Strided
    layers have to pad both ends of a side alike, or not at all, so that crops may begin in the corner.
    """

    def __init__(self, *layers: nn.Module) -> None:
        """Takes the layers over."""
        super().__init__(*layers)
        self._masks: dict[tuple[int, int], Tensor] = {}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                module.register_forward_pre_hook(self._mask_input)
            if isinstance(module, BatchNorm):
                module.register_forward_pre_hook(self._with_mask)

    def forward(self, x: Tensor, batch: PaddedBatch) -> Tensor:  # type: ignore[override]
        """Returns the features of a batch's crops, 0 beyond their borders.

        Args:
            x: (B, C, h, w) at any stride up to 16.
            batch: What x was made of.
        """
        if batch.is_padded:
            masks = [batch.valid(stride).to(batch.tensors.dtype) for stride in _STRIDES]
            self._masks = {(mask.shape[2], mask.shape[3]): mask for mask in masks}
        try:
            features: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return self._mask_input(self, (features,))[0]
        finally:
            self._masks = {}

    def _mask_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = inputs
        return (x * self._masks[x.shape[2], x.shape[3]],) if self._masks else inputs

    def _with_mask(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        (x,) = inputs
        return (x, self._masks[x.shape[2], x.shape[3]]) if self._masks else inputs
