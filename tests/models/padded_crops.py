"""Crops on larger canvases, for the tests of backbones."""

import numpy as np
import torch
from torch import Tensor

from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch


def on_canvas(crops: list[Tensor], backbone: Backbone, height: int = 80, width: int = 96) -> PaddedBatch:
    """Puts crops (C, h, w) where the backbone wants them on canvases of zeros."""
    sizes = np.array([crop.shape[1:] for crop in crops])
    starts = backbone.placement(sizes)
    canvases = torch.zeros(len(crops), len(crops[0]), height, width)
    for canvas, crop, (y, x) in zip(canvases, crops, starts.tolist(), strict=True):
        canvas[:, y : y + crop.shape[1], x : x + crop.shape[2]] = crop
    return PaddedBatch(canvases, torch.from_numpy(sizes), torch.from_numpy(starts))


def assert_same_as_alone(backbone: Backbone, crops: list[Tensor], tolerance: float) -> None:
    """Compares the features of padded crops with those that the crops have alone; beyond these are zeros."""
    with torch.inference_mode():
        for features, crop in zip(backbone(on_canvas(crops, backbone)), crops, strict=True):
            alone = backbone(PaddedBatch.whole(crop[None]))[0]
            height, width = (-(-side // 16) for side in crop.shape[1:])
            assert alone.shape == (backbone.out_channels, height, width)
            rounding = tolerance * alone.abs().max().item()
            torch.testing.assert_close(features[:, :height, :width], alone, rtol=0, atol=rounding)
            assert not features[:, height:].any()
            assert not features[:, :, width:].any()
