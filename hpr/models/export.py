"""A network as an ONNX file, for programs without PyTorch (docs/python.md)."""

import copy
import itertools
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpr.codec import DISC_RADIUS, DISC_VALUE, OFFSET_UNIT, STRIDE, decode, network_input
from hpr.crops import MIN_CROP_SIDE
from hpr.errors import UserError
from hpr.files import replacing
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch

INPUT = "crops"
OUTPUTS = ("probabilities", "offsets", "keypoints", "confidence")

_OPSET = 18
"""ONNX version that PyTorch's exporter writes without translation."""

_LARGEST_DIFFERENCE = 1e-4
"""Accepted difference of a probability between ONNX Runtime and PyTorch."""

_CHECKED_SIZES = ((MIN_CROP_SIDE, 9), (33, 47), (70, 41), (31, 100), (96, 64))
"""Crop sizes at which a file for any size is compared with PyTorch: odd and even at every stride."""


@dataclass(frozen=True)
class Exported:
    """A written ONNX file.

    Attributes:
        probability: Largest difference of a probability between ONNX Runtime and PyTorch.
        offset: Largest difference of an offset between ONNX Runtime and PyTorch, in pixels.
        crops: Sizes (height, width) of the crops that were compared.
    """

    probability: float
    offset: float
    crops: list[tuple[int, int]]


class _Graph(nn.Module):
    """What an ONNX file computes: the network, the sigmoid and the decoded pose."""

    def __init__(self, network: Refiner) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps crops (B, 3 + K, H, W) to `OUTPUTS`."""
        logits, offsets = self.network(PaddedBatch.whole(crops))
        probabilities = logits.sigmoid()
        keypoints, confidence = decode(probabilities, offsets)
        return probabilities, offsets, keypoints.float(), confidence


def export(network: Refiner, path: Path, size: Sequence[int] | None = None) -> Exported:
    """Writes a network to an ONNX file, if ONNX Runtime computes the same from it as PyTorch does.

    The file has one input, `INPUT`, (B, 3 + K, H, W) uint8: RGB and the discs of the estimated pose, as
    `codec.network_input` makes it. Its `OUTPUTS` are fp32: the probabilities (B, K, h, w) of one pass without flip, the
    offsets (B, 2 * K, h, w), and what `codec.decode` reads off these, the keypoints (B, K, 2) in crop_xy and their
    confidence (B, K). Its metadata has the keypoints' names and the numbers that a program needs.

    Args:
        network: A trained network; it is not changed.
        path: The file to write.
        size: Height and width of all crops; None for a file that takes crops of any size.

    Raises:
        UserError: The network does not take discs, it needs a size, a library is missing, the file cannot be written,
            or ONNX Runtime computes something else.
    """
    if network.input_kind != "discs":
        raise UserError(
            f"{path}: not written, since programs draw poses for such a file as published; expected a network of "
            f"input=discs, found {network.input_kind}"
        )
    if size is None and not network.backbone.exports_any_size:
        raise UserError(f"{path}: not written, since a file of this network is for crops of one size; set size=[H,W]")

    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (PyTorch's exporter needs it)
    except ImportError as error:
        remedy = "pip install onnx onnxruntime onnxscript"
        raise UserError(f"exporting needs {error.name}, which is missing: {remedy}") from None

    graph = _Graph(copy.deepcopy(network).cpu().requires_grad_(False)).eval()
    graph.network.fold_batch_norms()
    model = onnx_model(graph, OUTPUTS, size)
    skeleton = network.skeleton
    metadata = {
        "skeleton": skeleton.name,
        "keypoints": ",".join(skeleton.names),
        "mirror": ",".join(str(index) for index in skeleton.mirror),
        "stride": str(STRIDE),
        "offset_unit": str(OFFSET_UNIT),
        "disc_radius": str(DISC_RADIUS),
        "disc_value": str(DISC_VALUE),
        "mean_head": str(network.mean_head),
        "input_means": "subtracted in the graph",
    }
    onnx.helper.set_model_props(model, metadata)
    content = model.SerializeToString()

    sizes = list(_CHECKED_SIZES) if size is None else [(size[0], size[1])]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    probability, offset = _differences(graph, session, sizes)
    if not probability <= _LARGEST_DIFFERENCE:  # true for NaN as well
        raise UserError(
            f"{path}: not written, since ONNX Runtime's probabilities differ from PyTorch's by {probability:.2g}; "
            f"expected {_LARGEST_DIFFERENCE:g} at most"
        )

    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return Exported(probability, offset, sizes)


def onnx_model(graph: Any, outputs: Sequence[str], size: Sequence[int] | None) -> Any:
    """Returns the ONNX model of a module whose input is `INPUT`, with names for its outputs.

    The module's `network` is a `Refiner`. The axis "batch" is free and, without a size, so are "height" and "width".
    """
    height, width = (96, 80) if size is None else size
    crops = torch.zeros(2, 3 + len(graph.network.skeleton), height, width, dtype=torch.uint8)
    names = {0: "batch"} if size is not None else {0: "batch", 2: "height", 3: "width"}

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # the exporter's warnings are about itself
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (crops,),
            input_names=[INPUT],
            output_names=list(outputs),
            opset_version=_OPSET,
            dynamo=True,
            dynamic_shapes={INPUT: {axis: torch.export.Dim(name) for axis, name in names.items()}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _differences(graph: _Graph, session: Any, sizes: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Returns the largest differences of a probability, and of an offset in pixels, over crops of noise."""
    random = np.random.default_rng(0)
    keypoints = len(graph.network.skeleton)
    differences = np.zeros(2)

    for (height, width), batch in itertools.product(sizes, (1, 2)):
        pixels = random.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        pose = random.uniform(0, 1, (batch, keypoints, 2)) * [width, height]
        crops = network_input(torch.from_numpy(pixels), torch.from_numpy(pose))

        with torch.inference_mode():
            expected = graph(crops)[:2]
        found = session.run(OUTPUTS[:2], {INPUT: crops.numpy()})
        largest = [np.abs(theirs - ours.numpy()).max() for theirs, ours in zip(found, expected, strict=True)]
        differences = np.maximum(differences, largest)
    return float(differences[0]), float(differences[1] * OFFSET_UNIT)
