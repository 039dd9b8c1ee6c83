"""From a weight file to a network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpr import weights
from hpr.errors import UserError
from hpr.models.network import Refiner
from hpr.models.registry import build_network
from hpr.skeleton import Skeleton

IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""Of R, G and B, as slim's ImageNet models expect it to be subtracted (docs/published.md, section 1)."""


def load_network(path: Path, architecture: str | None = None, skeleton: Skeleton | None = None) -> Refiner:
    """Builds the network that a weight file is for and loads every tensor of it.

    Args:
        path: The weight file.
        architecture: What the weights have to be for; None takes what the file says.
        skeleton: What the weights have to be for; None takes what the file says.

    Raises:
        UserError: The weights are absent, damaged, not a refiner's, or for another architecture or skeleton.
    """
    tensors, provenance = weights.load(path)
    if provenance.kind != "refiner":
        raise UserError(
            f"{path}: expected a refiner's weights, found a {provenance.kind}'s, which only training can use"
        )
    _check_architecture(path, provenance, architecture)
    found = _checked_skeleton(path, provenance, skeleton)
    network = build_network(provenance.architecture, found)
    _load(network, tensors, path)
    return network


def start_network(architecture: str, skeleton: Skeleton, path: str | Path | None) -> Refiner:
    """Builds a network to be trained.

    Args:
        architecture: Of the network.
        skeleton: Of the poses that it learns to refine.
        path: A refiner's weights, or those of a backbone such as an ImageNet model; None for random ones.

    Raises:
        UserError: The weights are absent, damaged, or for another architecture or skeleton.
    """
    network = build_network(architecture, skeleton)
    if path is None:
        return network
    tensors, provenance = weights.load(Path(path))
    _check_architecture(Path(path), provenance, architecture)
    if provenance.kind == "backbone":
        tensors = _with_blind_stem(tensors, network)
    else:
        _checked_skeleton(Path(path), provenance, skeleton)
    _load(network, tensors, Path(path))
    return network


def _with_blind_stem(backbone: weights.Tensors, network: Refiner) -> weights.Tensors:
    """Completes a backbone's tensors: no weight on the keypoint discs yet, and the network's own heads.

    The backbone expects RGB minus ImageNet's mean, the refiner subtracts its own. What the difference adds to
    the stem's output is taken off again by its batch norm.
    """
    image_kernel = backbone["backbone.stem.conv.weight"]  # (64, 3, 7, 7)
    stem = np.zeros(network.get_parameter("backbone.stem.conv.weight").shape, np.float32)
    stem[:, :3] = image_kernel
    difference = np.array(IMAGENET_MEAN) - network.input_mean[0, :3, 0, 0].numpy()
    added = (image_kernel.sum(axis=(2, 3)) * difference).sum(axis=1)
    mean = backbone["backbone.stem.norm.running_mean"] + added
    heads = {name: tensor.numpy() for name, tensor in network.state_dict().items() if "head" in name}
    return {**heads, **backbone, "backbone.stem.conv.weight": stem, "backbone.stem.norm.running_mean": mean}


def _check_architecture(path: Path, provenance: weights.Provenance, architecture: str | None) -> None:
    found = provenance.architecture
    if architecture not in (None, found):
        raise UserError(
            f"{path}: expected weights of {architecture}, found {found}'s; use model={found} or another file"
        )


def _checked_skeleton(path: Path, provenance: weights.Provenance, expected: Skeleton | None) -> Skeleton:
    """Returns the skeleton that weights are for, if it is the expected one."""
    found = provenance.checked_skeleton(path)
    if expected is not None and found.names != expected.names:
        raise UserError(
            f"{path}: expected weights for the keypoints of {expected.name}, found {found.name}'s; "
            f"use model.skeleton={found.name} or another file"
        )
    return found


def _load(network: Refiner, tensors: weights.Tensors, path: Path) -> None:
    """Loads every tensor of a network.

    Raises:
        UserError: Tensors are missing, left over or of another shape.
    """
    # Batch norm's count of training batches is torch's own and has no part in what the network computes.
    expected = {n: tuple(t.shape) for n, t in network.state_dict().items() if not n.endswith("batches_tracked")}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if odd:
        shapes = f"expected shape {expected.get(odd[0])}, found {found.get(odd[0])}"
        raise UserError(f"{path}: {len(odd)} tensors do not fit the network, first {odd[0]}: {shapes}")
    for name in expected:
        _check_numbers(name, tensors[name], path)
    # Files may hold fp16 to be small; the network computes from fp32.
    network.load_state_dict({name: torch.from_numpy(tensors[name]).float() for name in expected}, strict=False)


def _check_numbers(name: str, tensor: NDArray[Any], path: Path) -> None:
    """Refuses a tensor that no training leaves behind.

    Raises:
        UserError: It holds other than fractions, a number that is not finite, or, as a kernel, nothing but zeros.
    """
    problem = None
    if not np.issubdtype(tensor.dtype, np.floating):
        problem = f"numbers of type {tensor.dtype}"
    elif not np.isfinite(tensor).all():
        problem = f"{int((~np.isfinite(tensor)).sum())} numbers that are not finite"
    elif tensor.ndim > 1 and not tensor.any():
        problem = "nothing but zeros"
    if problem is not None:
        raise UserError(f"{path}: {name}: expected trained weights, found {problem}; port or train the weights again")
