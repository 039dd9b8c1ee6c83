"""TensorFlow checkpoints of the refiner's family: names, shapes and axis order (docs/published.md, section 1).

Needs no torch. TensorFlow is imported in `_open_checkpoint` only, and only to read.
"""

import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.models import weights
from hpr.models.resnet_shapes import EXPANSION, RESNETS, ResNetShape
from hpr.skeleton import POSETRACK15

Shape = tuple[int, ...]

_OPTIMIZER_SLOT = re.compile(r"/(Momentum|Adam|Adam_1)$")
_CHECKPOINT_FILE = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")

_NORM_LEAVES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@dataclass(frozen=True)
class Variable:
    """One variable of a checkpoint and the tensor of our network that it becomes, or becomes a part of.

    Attributes:
        name: Name in the checkpoint.
        shape: Shape in the checkpoint. Kernels are [height, width, in, out], transposed ones [height, width, out, in].
        tensor: Name of the tensor. Two variables of one tensor are concatenated along its input axis.
    """

    name: str
    shape: Shape
    tensor: str


@dataclass(frozen=True)
class Ported:
    """The result of porting a checkpoint.

    Attributes:
        provenance: Provenance in the weight file.
        used: Number of variables used.
        optimizer_slots: Number of optimizer slots left out.
        unused: Names of the other variables left out.
        size: Number of weights.
    """

    provenance: weights.Provenance
    used: int
    optimizer_slots: int
    unused: tuple[str, ...]
    size: int


def port(checkpoint: Path, output: Path) -> Ported:
    """Converts a TensorFlow checkpoint to a weight file.

    Args:
        checkpoint: Prefix of a V2 checkpoint, a .zip that holds one, or a V1 .ckpt file; of the published refiner, or
            of a backbone alone (slim's ImageNet models, the pose models that the refiner started from).
        output: The safetensors file to write.

    Raises:
        UserError: The checkpoint is absent, damaged or of another network, or TensorFlow is not installed.
    """
    with _located(checkpoint) as path:
        reader = _open_checkpoint(path)
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        scope, kind = _scope_and_kind(shapes, checkpoint)
        name = scope.replace("_v1_", "")
        if name not in RESNETS:
            raise UserError(f"{checkpoint}: unknown architecture '{name}': expected one of {', '.join(RESNETS)}")

        table = variables(scope, RESNETS[name], kind == "refiner")
        tensors = _tensors(table, shapes, reader, checkpoint)
        if "global_step" in shapes:
            step = str(int(_value(reader, "global_step", checkpoint)))
        else:  # from a name like snapshot-515000
            match = re.search(r"-(\d+)(\.zip)?$", checkpoint.name)
            step = match[1] if match else "unknown"

    provenance = weights.Provenance(checkpoint.name, step, name, kind)
    if kind == "refiner":
        provenance = weights.Provenance.of_refiner(checkpoint.name, step, name, POSETRACK15)
    weights.save(output, tensors, provenance)

    left_out = sorted(set(shapes) - {variable.name for variable in table} - {"global_step"})
    unused = tuple(name for name in left_out if not _OPTIMIZER_SLOT.search(name))
    size = sum(value.size for value in tensors.values())
    return Ported(provenance, len(table), len(left_out) - len(unused), unused, size)


def default_output(checkpoint: Path) -> Path:
    """Returns the path of the weight file beside a checkpoint."""
    prefix = _CHECKPOINT_FILE.sub("", str(checkpoint))
    return Path(re.sub(r"\.(zip|ckpt)$", "", prefix) + ".safetensors")


def variables(scope: str, shape: ResNetShape, refiner: bool) -> list[Variable]:
    """Returns every variable of a network in graph order; a refiner has a stem for the discs and two heads as well."""
    stem = "backbone.stem"
    table = [Variable(f"{scope}/conv1/weights", (7, 7, 3, shape.width), f"{stem}.conv.weight")]
    if refiner:
        kernel = (7, 7, len(POSETRACK15), shape.width)
        table.append(Variable(f"{scope}/conv1_extra/weights", kernel, f"{stem}.conv.weight"))
    # The refiner's first batch norm follows the sum of both stems, so it is outside of conv1.
    table += _norm(scope if refiner else f"{scope}/conv1", shape.width, f"{stem}.norm")

    channels = shape.width
    for block, count in enumerate(shape.units):
        depth = shape.width * 2**block
        for unit in range(count):
            prefix = f"{scope}/block{block + 1}/unit_{unit + 1}/bottleneck_v1"
            table += _unit(prefix, channels, depth, unit == 0, f"backbone.blocks.{block}.{unit}")
            channels = EXPANSION * depth

    if refiner:
        for head, outputs, tensor in (("part_pred", 1, "part_head"), ("locref_pred", 2, "offset_head")):
            kernel = (3, 3, outputs * len(POSETRACK15), channels)
            table.append(Variable(f"pose/{head}/block4/weights", kernel, f"{tensor}.weight"))
            table.append(Variable(f"pose/{head}/block4/biases", kernel[2:3], f"{tensor}.bias"))
    return table


def _unit(prefix: str, channels: int, depth: int, is_first: bool, tensor: str) -> list[Variable]:
    """Returns the variables of a bottleneck unit; a block's first unit has a projection as its shortcut."""
    wide = EXPANSION * depth
    kernels = {"conv1": (1, 1, channels, depth), "conv2": (3, 3, depth, depth), "conv3": (1, 1, depth, wide)}
    if is_first:
        kernels = {"shortcut": (1, 1, channels, wide), **kernels}

    table = []
    for name, kernel in kernels.items():
        table.append(Variable(f"{prefix}/{name}/weights", kernel, f"{tensor}.{name}.conv.weight"))
        table += _norm(f"{prefix}/{name}", kernel[-1], f"{tensor}.{name}.norm")
    return table


def _norm(prefix: str, channels: int, tensor: str) -> list[Variable]:
    """Returns the four variables of a batch norm."""
    return [
        Variable(f"{prefix}/BatchNorm/{leaf}", (channels,), f"{tensor}.{ours}") for leaf, ours in _NORM_LEAVES.items()
    ]


@contextmanager
def _located(checkpoint: Path) -> Iterator[str]:
    """Yields the path that TensorFlow wants: a prefix, or a V1 file; a .zip is unpacked meanwhile."""
    if checkpoint.suffix != ".zip" or not checkpoint.is_file():
        prefix = _CHECKPOINT_FILE.sub("", str(checkpoint))
        if not Path(f"{prefix}.index").is_file() and not Path(prefix).is_file():
            raise UserError(
                f"{prefix}: no such checkpoint; expected {prefix}.index and {Path(prefix).name}.data-00000-of-00001, "
                "a .zip of the two, or a .ckpt file: set checkpoint=PATH"
            )
        yield prefix
        return

    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(checkpoint) as file:
                file.extractall(folder, [name for name in file.namelist() if _CHECKPOINT_FILE.search(name)])
        except Exception as error:  # zipfile raises many kinds: damage, encryption, unknown compression, a full disk
            raise UserError(f"{checkpoint}: cannot be unpacked ({error}); download it again") from None

        found = sorted(Path(folder).rglob("*.index"))
        if len(found) != 1:
            raise UserError(f"{checkpoint}: expected one checkpoint (one file *.index) in it, found {len(found)}")
        yield str(found[0].with_suffix(""))


def _open_checkpoint(path: str) -> Any:
    """Returns TensorFlow's reader of a checkpoint."""
    # Only the reader is wanted: no GPU memory, no start-up log.
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")
    try:
        import tensorflow
    except ImportError:
        raise UserError("reading a checkpoint needs TensorFlow, which is missing: pip install tensorflow-cpu") from None

    try:
        return tensorflow.train.load_checkpoint(path)
    except (tensorflow.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path}: not a complete TensorFlow checkpoint ({reason}); download it again") from None


def _value(reader: Any, name: str, checkpoint: Path) -> NDArray[Any]:
    """Returns the value of a variable."""
    try:
        return np.asarray(reader.get_tensor(name))
    except Exception as error:  # TensorFlow's own error, an IndexError or a RuntimeError, by the kind of damage
        reason = str(error).split("\n")[0]
        raise UserError(f"{checkpoint}: {name} cannot be read ({reason}); download the checkpoint again") from None


def _scope_and_kind(shapes: dict[str, Shape], checkpoint: Path) -> tuple[str, str]:
    """Returns the backbone's scope and the kind of weights, by the names of the variables."""
    scopes = sorted({match[0] for name in shapes if (match := re.match(r"resnet_v1_\d+(?=/)", name))})
    if len(scopes) != 1:
        found = f"the scopes {', '.join(scopes)}" if scopes else f"{len(shapes)} other variables"
        raise UserError(f"{checkpoint}: expected variables of one resnet_v1_50, _101 or _152, found {found}")

    # A batch norm right after the image's stem means that no second stem is added before it.
    return scopes[0], "backbone" if f"{scopes[0]}/conv1/BatchNorm/gamma" in shapes else "refiner"


def _tensors(table: list[Variable], shapes: dict[str, Shape], reader: Any, checkpoint: Path) -> weights.Tensors:
    """Reads the variables and returns our tensors, with the axes in torch's order."""
    tensors: weights.Tensors = {}
    for variable in table:
        name, found = variable.name, shapes.get(variable.name)
        if found is None:
            raise UserError(f"{checkpoint}: no variable {name} among its {len(shapes)}; another network's checkpoint?")
        if found != variable.shape:
            raise UserError(f"{checkpoint}: {name} has shape {list(found)}, expected {list(variable.shape)}")

        value = _value(reader, name, checkpoint).astype(np.float32, copy=False)
        if value.ndim == 4:  # [H, W, in, out] -> (out, in, H, W); transposed: [H, W, out, in] -> (in, out, H, W)
            value = value.transpose(3, 2, 0, 1)
        earlier = tensors.get(variable.tensor)
        tensors[variable.tensor] = value if earlier is None else np.concatenate([earlier, value], axis=1)
    return tensors
