"""From a weight file to a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpr.models import weight_files as weights
from hpr.errors import UserError
from hpr.models.network import Refiner, input_means
from hpr.models.registry import build_network
from hpr.models.torchvision_weights import RGB_DEVIATION, RGB_MEAN, is_torchvision, load_torchvision
from hpr.models.transfer import take_over
from hpr.settings import InputKind
from hpr.skeleton import Skeleton

IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""Of R, G and B, as slim's ImageNet models expect it to be subtracted (docs/published.md, section 1)."""

_INPUT_MEAN = "input_mean"
"""Name in weight files of what is subtracted from the input, (3 + K,), where it is not `input_means`."""


def load_network(
    path: Path,
    architecture: str | None = None,
    skeleton: Skeleton | None = None,
    input_kind: InputKind | None = None,
) -> Refiner:
    """Builds the network that a weight file is for and loads every tensor of it.

    Args:
        path: The weight file.
        architecture: What the weights have to be for; None takes what the file says.
        skeleton: What the weights have to be for; None takes what the file says.
        input_kind: What the weights have to be for; None takes what the file says.

    Raises:
        UserError: The weights are absent, damaged, not a refiner's, or for another architecture, skeleton or input.
    """
    if is_torchvision(path):
        raise UserError(f"{path}: expected a refiner's weights, found torchvision's, which only training can use")
    tensors, provenance = weights.load(path)
    if provenance.kind != "refiner":
        raise UserError(
            f"{path}: expected a refiner's weights, found a {provenance.kind}'s, which only training can use"
        )
    _check_architecture(path, provenance, architecture)
    found = _checked_skeleton(path, provenance, skeleton)
    network = build_network(provenance.architecture, found, _checked_input(path, provenance, input_kind))
    _load_refiner(network, tensors, path)
    return network


def start_network(
    architecture: str, skeleton: Skeleton, path: str | Path | None, input_kind: InputKind | None = None
) -> Refiner:
    """Builds a network to be trained.

    From a backbone's weights, it begins as that of the image alone: the kernels of the keypoints' maps are zero. From a
    refiner's of another skeleton, it begins with the keypoints of the same names.

    Args:
        architecture: Of the network.
        skeleton: Of the poses that it learns to refine.
        path: A refiner's weights, or those of a backbone such as an ImageNet model, of ours or torchvision's
            (`torchvision_weights.FROM_CACHE` for the file in its cache); None for random ones.
        input_kind: How poses are drawn for it; None takes what a refiner's weights say, else the published form.

    Raises:
        UserError: The weights are absent, damaged, for another architecture or input, or for none of the keypoints.
    """
    if path is None:
        return build_network(architecture, skeleton, input_kind or "discs")
    if is_torchvision(path):
        return _from_torchvision(build_network(architecture, skeleton, input_kind or "discs"), architecture, path)
    tensors, provenance = weights.load(Path(path))
    _check_architecture(Path(path), provenance, architecture)
    if provenance.kind == "backbone":
        network = build_network(architecture, skeleton, input_kind or "discs")
        _load(network, _with_heads(_with_blind_stem(tensors, network), network), Path(path))
        return network
    network = build_network(architecture, skeleton, _checked_input(Path(path), provenance, input_kind))
    found = provenance.checked_skeleton(Path(path))
    if found.names == skeleton.names:
        _load_refiner(network, tensors, Path(path))
        return network
    if not set(found.names) & set(skeleton.names):
        raise UserError(f"{path}: expected weights that share keypoints with {skeleton.name}, found {found.name}'s")
    old = build_network(architecture, found, network.input_kind)
    _load_refiner(old, tensors, Path(path))
    take_over(network, old)
    return network


def weights_of(network: Refiner) -> weights.Tensors:
    """Returns what a weight file holds of a network."""
    # Batch norm's count of training batches has no part in what the network computes.
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("batches_tracked")}
    tensors = {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items()}
    mean = network.input_mean.flatten().cpu().numpy()
    if not np.array_equal(mean, np.array(input_means(network.skeleton), np.float32)):
        tensors[_INPUT_MEAN] = mean
    return tensors


def _from_torchvision(network: Refiner, architecture: str, path: str | Path) -> Refiner:
    """Returns a network with torchvision's weights as its backbone."""
    backbone = network.backbone
    if not backbone.torchvision_model:
        raise UserError(f"model.weights={path}: torchvision has no weights for {architecture}; use another model")
    found, file = load_torchvision(path, backbone.torchvision_model)
    own = [name for name in backbone.state_dict() if not name.endswith("batches_tracked")]
    tensors = {f"backbone.{name}": found[backbone.torchvision_name(name)] for name in own}
    # It expects RGB from 0 to 1, normalised: the network subtracts the same mean, and the first kernel divides.
    first = f"backbone.{backbone.first_kernel}"
    kernel = tensors[first] / np.array(RGB_DEVIATION, np.float32)[:, None, None]  # (out, 3, h, w)
    means = [*RGB_MEAN, *network.input_mean.flatten().tolist()[3:]]
    network.input_mean.copy_(torch.tensor(means).view(1, -1, 1, 1))
    _load(network, _with_heads({**tensors, first: _blind(kernel, network)}, network), Path(file))
    return network


def _blind(kernel: NDArray[Any], network: Refiner) -> NDArray[Any]:
    """Returns a first kernel (out, 3, h, w) with no weight on the keypoints' maps yet, (out, 3 + K, h, w)."""
    whole = np.zeros(network.get_parameter(f"backbone.{network.backbone.first_kernel}").shape, np.float32)
    whole[:, :3] = kernel
    return whole


def _with_heads(backbone: Mapping[str, NDArray[Any]], network: Refiner) -> weights.Tensors:
    """Completes a backbone's tensors by the network's own heads."""
    return {**{name: tensor.numpy() for name, tensor in network.state_dict().items() if "head" in name}, **backbone}


def _with_blind_stem(backbone: weights.Tensors, network: Refiner) -> weights.Tensors:
    """Lets one of slim's backbones see the image as it is used to, and of the keypoints' maps nothing yet.

    The backbone expects RGB minus ImageNet's mean, the refiner subtracts its own. What the difference adds to
    the stem's output is taken off again by its batch norm.
    """
    image_kernel = backbone["backbone.stem.conv.weight"]  # (64, 3, 7, 7)
    difference = np.array(IMAGENET_MEAN) - network.input_mean[0, :3, 0, 0].numpy()
    added = (image_kernel.sum(axis=(2, 3)) * difference).sum(axis=1)
    mean = backbone["backbone.stem.norm.running_mean"] + added
    stem = _blind(image_kernel, network)
    return {**backbone, "backbone.stem.conv.weight": stem, "backbone.stem.norm.running_mean": mean}


def _checked_input(path: Path, provenance: weights.Provenance, expected: InputKind | None) -> InputKind:
    """Returns how poses are drawn for weights, if it is as expected."""
    found = provenance.input
    if expected not in (None, found):
        raise UserError(f"{path}: expected weights of input={expected}, found {found}; set model.input or another file")
    return found


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


def _load_refiner(network: Refiner, tensors: weights.Tensors, path: Path) -> None:
    """Loads every tensor of a refiner, and what it subtracts from its input where its file says so.

    Raises:
        UserError: Tensors are missing, left over or of another shape.
    """
    _load(network, {name: tensor for name, tensor in tensors.items() if name != _INPUT_MEAN}, path)
    network.unmeasured = []  # older files hold none: their networks were trained with the means as they are
    if _INPUT_MEAN in tensors:
        _load_input_mean(network, tensors[_INPUT_MEAN], path)


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


def _load_input_mean(network: Refiner, mean: NDArray[Any], path: Path) -> None:
    """Loads what is subtracted from the input.

    Raises:
        UserError: It is of another shape, or no numbers.
    """
    if mean.shape != (3 + len(network.skeleton),):
        expected = (3 + len(network.skeleton),)
        raise UserError(f"{path}: {_INPUT_MEAN}: expected shape {expected}, found {mean.shape}")
    _check_numbers(_INPUT_MEAN, mean, path)
    network.set_input_mean(mean.tolist())


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
