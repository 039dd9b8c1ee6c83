"""A network for crops of one size by ONNX Runtime: half of PyTorch's time on a CPU (docs/notes/speed.md)."""

import copy
import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hpr
from hpr.files import replacing
from hpr.models.export import onnx_model
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.places import weights_cache

Forward = Callable[[PaddedBatch], tuple[Tensor, Tensor]]


class _Graph(nn.Module):
    """A network as a function of tensors alone."""

    def __init__(self, network: Refiner) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Maps crops (B, 3 + K, H, W) to logits (B, K, h, w) and offsets (B, 2 * K, h, w)."""
        logits, offsets = self.network(PaddedBatch.whole(crops))
        return logits, offsets


def _can_write(path: Path) -> bool:
    """Returns whether a file can be written, and makes its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.access(path.parent, os.W_OK)
    except OSError:
        return False


def onnx_forward(network: Refiner, weights: Path) -> Forward | None:
    """Returns a network's forward pass by ONNX Runtime.

    Making the graph takes seconds, so it is kept in `weights_cache`, named after the content of the weights.

    Args:
        network: In fp32 on a CPU, with batch norms folded.
        weights: Its weight file.

    Returns:
        The function; None for networks that take crops of any size, where ONNX Runtime or what makes the graph is not
        installed, and where the graph cannot be kept.
    """
    if network.canvas is None or not all(map(find_spec, ("onnxruntime", "onnx", "onnxscript"))):
        return None
    import onnxruntime

    version = f"{hpr.__version__} {torch.__version__} {onnxruntime.__version__}".encode()
    name = hashlib.sha256(version + weights.read_bytes()).hexdigest()[:16]
    path = weights_cache() / f"{weights.stem}-{name}.onnx"
    if path.is_file():
        content = path.read_bytes()
    elif not _can_write(path):
        return None
    else:
        graph = _Graph(copy.deepcopy(network).to(memory_format=torch.contiguous_format)).eval()
        content = onnx_model(graph, ("logits", "offsets"), network.canvas).SerializeToString()
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other threads decode and crop
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        outputs: list[Any] = session.run(None, {"crops": batch.tensors.contiguous().numpy()})
        logits, offsets = map(torch.from_numpy, outputs)
        return logits, offsets

    return forward
