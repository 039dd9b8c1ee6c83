"""Weight files: safetensors with provenance in the metadata. Needs no torch, so that porting needs none."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from hpr.errors import UserError
from hpr.files import replacing
from hpr.settings import InputKind
from hpr.skeleton import Skeleton, get_skeleton

Tensors = dict[str, NDArray[Any]]
"""Tensors by their name in the network."""


@dataclass(frozen=True)
class Provenance:
    """Where weights come from and which network they fit.

    Attributes:
        source: The checkpoint or training run.
        step: Training step; "unknown" where the source does not say.
        architecture: A name that `models.registry` knows.
        kind: "refiner", or "backbone" for weights that only training can start from.
        skeleton: Name of a refiner's skeleton; empty for a backbone.
        keypoints: A refiner's keypoint names in order, separated by commas; empty for a backbone.
        input: How poses are drawn for a refiner; not written for the published form.
        notes: Data, licences and commands, for people; not written if empty.
    """

    source: str
    step: str
    architecture: str
    kind: str
    skeleton: str = ""
    keypoints: str = ""
    input: InputKind = "discs"
    notes: str = ""

    @classmethod
    def of_refiner(
        cls, source: str, step: str, architecture: str, skeleton: Skeleton, input_kind: InputKind = "discs"
    ) -> "Provenance":
        """Returns the provenance of a refiner's weights."""
        keypoints = ",".join(skeleton.names)
        return cls(source, step, architecture, "refiner", skeleton.name, keypoints, input_kind)

    def checked_skeleton(self, path: Path) -> Skeleton:
        """Returns the skeleton of a refiner's weights; messages name their file, `path`.

        Raises:
            UserError: There is no skeleton of that name, or it has other keypoints.
        """
        try:
            skeleton = get_skeleton(self.skeleton)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

        if self.keypoints != ",".join(skeleton.names):
            raise UserError(
                f"{path}: expected the keypoints of {skeleton.name} in its order, found '{self.keypoints}'; "
                "port or train the weights again"
            )
        return skeleton


_DEFAULTS = {("input", "discs"), ("notes", "")}


def save(path: Path, tensors: Mapping[str, NDArray[Any]], provenance: Provenance) -> None:
    """Writes a weight file.

    Raises:
        UserError: The file cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    metadata = {name: value for name, value in asdict(provenance).items() if (name, value) not in _DEFAULTS}
    with replacing(path) as temporary:
        # As bytes: safetensors' own function writes files that only their owner can read.
        temporary.write_bytes(serialize(contiguous, {"format": "pt", **metadata}))


def load(path: Path) -> tuple[Tensors, Provenance]:
    """Reads a weight file.

    Raises:
        UserError: The file is absent, not a complete safetensors file, or has no provenance.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

        # Libraries such as onnx teach numpy further types, which PyTorch does not take.
        if foreign := [str(tensor.dtype) for tensor in tensors.values() if tensor.dtype.isbuiltin != 1]:
            raise TypeError(foreign[0])
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights; set model.weights to a file of hpr port or hpr train") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a complete safetensors file ({error}); port or copy it again") from None
    except (TypeError, KeyError) as error:  # bfloat16, for example
        remedy = "save it in fp32 or fp16"
        raise UserError(f"{path}: holds numbers of a type that numpy does not have ({error}); {remedy}") from None

    metadata.pop("format", None)
    if metadata.get("input", "discs") not in get_args(InputKind):
        raise UserError(f"{path}: expected an input of {', '.join(get_args(InputKind))}, found '{metadata['input']}'")
    try:
        return tensors, Provenance(**metadata)
    except TypeError:
        raise UserError(f"{path}: these weights do not say what they are; write them with hpr's own tools") from None


def has_provenance(path: Path) -> bool:
    """Returns whether a file is one of hpr's weight files, as far as its header says."""
    try:
        with safe_open(path, "numpy") as file:
            return "architecture" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False
