"""Writes stand-ins for checkpoints that cannot be downloaded here: same names, shapes and formats, drawn weights.

Run as a program of its own, because TensorFlow and Triton do not fit into one process:

    python tests/standin.py refiner DIR/snapshot-515000     # V2, with the optimizer slots of a training run
    python tests/standin.py imagenet DIR/resnet_v1_50.ckpt  # slim's ResNet-50 in the older V1 format
"""

import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden"

Variables = dict[str, NDArray[Any]]


def refiner() -> Variables:
    """Returns the variables of the stand-in that the golden data was computed with."""
    names_and_shapes = json.loads((GOLDEN / "variables.json").read_text())
    statistics = np.load(GOLDEN / "bn_stats.npz")
    return {name: statistics[name] if name in statistics else drawn(name, shape) for name, shape in names_and_shapes}


def with_training_state(variables: Variables) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields the variables and what else a training run leaves in a snapshot."""
    for name, value in variables.items():
        yield name, value
        if not name.rsplit("/", 1)[-1].startswith("moving_"):
            yield f"{name}/Momentum", np.zeros_like(value)
    yield "global_step", np.asarray(515000, np.int64)


def drawn(name: str, shape: list[int]) -> NDArray[np.float32]:
    """Returns weights that depend on nothing but the variable's name and shape."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    leaf = name.rsplit("/", 1)[-1]
    part = "part_pred" in name
    if leaf == "weights" and name.startswith("pose/"):
        value = random.randn(*shape) * ((0.45 if part else 0.12) / np.sqrt(shape[3]))
    elif leaf == "weights":
        value = random.randn(*shape) * np.sqrt(2.0 / np.prod(shape[:3]))
    elif leaf == "biases":
        value = random.uniform(-2.0, -1.0, shape) if part else random.randn(*shape) * 0.1
    elif leaf == "gamma":
        value = random.uniform(*((0.2, 0.6) if "/conv3/" in name else (0.6, 1.4)), shape)
    elif leaf == "beta":
        value = random.randn(*shape) * 0.2
    else:
        value = np.full(shape, 1.0 if leaf == "moving_variance" else 0.0)
    return np.asarray(value, np.float32)


def imagenet() -> Variables:
    """Returns variables named and shaped like those of slim's ImageNet ResNet-50."""
    scope = "resnet_v1_50"
    shapes: dict[str, list[int]] = {}

    def conv(prefix: str, kernel: list[int]) -> None:
        shapes[f"{prefix}/weights"] = kernel
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{prefix}/BatchNorm/{leaf}"] = kernel[-1:]

    conv(f"{scope}/conv1", [7, 7, 3, 64])
    inputs = 64
    for block, (units, depth) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for unit in range(1, units + 1):
            prefix = f"{scope}/block{block}/unit_{unit}/bottleneck_v1"
            if unit == 1:
                conv(f"{prefix}/shortcut", [1, 1, inputs, 4 * depth])
            conv(f"{prefix}/conv1", [1, 1, inputs, depth])
            conv(f"{prefix}/conv2", [3, 3, depth, depth])
            conv(f"{prefix}/conv3", [1, 1, depth, 4 * depth])
            inputs = 4 * depth
    shapes |= {f"{scope}/logits/weights": [1, 1, 2048, 1000], f"{scope}/logits/biases": [1000]}
    return {name: drawn(name, shape) for name, shape in shapes.items()}


def write(prefix: str, variables: Variables, v1: bool) -> None:
    """Writes a checkpoint, in the older V1 format if so wanted."""
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")
    import tensorflow as tf

    names, values = list(variables), list(variables.values())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = [tf.compat.v1.placeholder(value.dtype, value.shape) for value in values]
        if v1:
            operation = tf.raw_ops.Save(filename=prefix, tensor_names=names, data=inputs)
        else:
            slices = [""] * len(names)
            operation = tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=inputs)
        session.run(operation, dict(zip(inputs, values, strict=True)))


if __name__ == "__main__":
    kind, target = sys.argv[1:]
    if kind == "refiner":
        write(target, dict(with_training_state(refiner())), v1=False)
    else:
        write(target, imagenet(), v1=True)
