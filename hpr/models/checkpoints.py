"""From weight files to networks and back."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpr.errors import UserError
from hpr.models import weights
from hpr.models.network import PRETRAINED, Refiner, input_means
from hpr.models.places import find_weights
from hpr.models.registry import TIMM, build_network
from hpr.settings import InputKind
from hpr.skeleton import Skeleton

IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""Mean of R, G and B that slim's ImageNet models expect to be subtracted (docs/published.md, section 1)."""

_INPUT_MEAN = "input_mean"
"""Name in weight files of the tensor (3 + K,) that is subtracted from the input; absent where it is `input_means`."""


def load_network(
    path: str | Path,
    architecture: str | None = None,
    skeleton: Skeleton | None = None,
    input_kind: InputKind | None = None,
) -> Refiner:
    """Builds the network of a weight file and loads every tensor.

    Args:
        path: The weight file, or a name of `places.find_weights`.
        architecture: Required architecture; None takes what the file says.
        skeleton: Required skeleton; None takes what the file says.
        input_kind: Required way of drawing poses; None takes what the file says.

    Raises:
        UserError: The weights are absent, damaged, not a refiner's, or for another architecture, skeleton or input.
    """
    only_backbone = f"{path}: expected a refiner's weights, found a backbone's, which only training can use"
    if str(path) == PRETRAINED:
        raise UserError(only_backbone)
    path = find_weights(path)
    if _is_pretrained(path):
        raise UserError(only_backbone)
    tensors, provenance = weights.load(path)
    if provenance.kind != "refiner":
        raise UserError(only_backbone)

    _check_fits(path, provenance, architecture, input_kind)
    found = provenance.checked_skeleton(path)
    if skeleton is not None and found.names != skeleton.names:
        raise UserError(
            f"{path}: expected weights for the keypoints of {skeleton.name}, found {found.name}'s; "
            f"use model.skeleton={found.name} or another file"
        )

    network = build_network(provenance.architecture, found, provenance.input)
    _load(network, tensors, path)
    return network


def start_network(
    architecture: str, skeleton: Skeleton, path: str | Path | None, input_kind: InputKind | None = None
) -> Refiner:
    """Builds a network to be trained.

    Started from a backbone's weights, the network at first sees the image only: kernels of the keypoints' maps are
    zero. Started from a refiner of another skeleton, it begins with the keypoints of the same names.

    Args:
        architecture: Name of the architecture.
        skeleton: Keypoints of the poses that it learns to refine.
        path: Weight file of a refiner or a backbone; for timm's networks also a file of timm's weights, or "pretrained"
            for those that timm loads by itself; None for random weights.
        input_kind: How poses are drawn; None takes what a refiner's weights say, else the published form.

    Raises:
        UserError: The weights are absent, damaged, for another architecture or input, or share no keypoint.
    """
    build = partial(build_network, architecture, skeleton)
    if path is None:
        return build(input_kind or "discs")
    if _is_pretrained(path) or (architecture.startswith(TIMM) and not weights.has_provenance(find_weights(path))):
        return _start_from_pretrained(build(input_kind or "discs"), path)

    path = find_weights(path)
    tensors, provenance = weights.load(path)
    if provenance.kind == "backbone":
        _check_fits(path, provenance, architecture)
        network = build(input_kind or "discs")
        if network.canvas is None:
            _adapt_slim(tensors, network)
        _load(network, tensors, path, is_backbone=True)
        return network

    _check_fits(path, provenance, architecture, input_kind)
    found, network = provenance.checked_skeleton(path), build(provenance.input)
    if found.names == skeleton.names:
        _load(network, tensors, path)
        return network

    if not set(found.names) & set(skeleton.names):
        raise UserError(f"{path}: expected weights that share keypoints with {skeleton.name}, found {found.name}'s")
    if network.canvas is not None:
        raise UserError(f"{path}: expected weights for {skeleton.name}, found {found.name}'s; start from a backbone's")
    trained = build_network(architecture, found, provenance.input)
    _load(trained, tensors, path)
    _transfer(trained, network)
    return network


def network_tensors(network: Refiner) -> weights.Tensors:
    """Returns the tensors that a weight file holds of a network, in fp32."""
    tensors = {name: tensor.detach().float().cpu().numpy() for name, tensor in _state(network).items()}
    if np.array_equal(tensors[_INPUT_MEAN], np.array(input_means(network.skeleton), np.float32)):
        del tensors[_INPUT_MEAN]
    return tensors


def _is_pretrained(path: str | Path) -> bool:
    """Returns whether a path means weights of a library of backbones.

    Raises:
        UserError: It is a checkpoint of `hpr train`, which has a file of its weights beside it.
    """
    own = Path(path).with_suffix(".safetensors")
    if Path(path).suffix == ".pt" and weights.has_provenance(own):
        raise UserError(f"{path}: expected weights, found a checkpoint, which only resume=true reads; use {own}")
    return str(path) == PRETRAINED or Path(path).suffix in (".pth", ".pt")


def _check_fits(
    path: Path, provenance: weights.Provenance, architecture: str | None, input_kind: InputKind | None = None
) -> None:
    """Raises a UserError unless weights are for an architecture and a way of drawing poses, where these are given."""
    found = provenance.architecture
    if architecture not in (None, found):
        model = f"model=timm model.architecture={found}" if found.startswith(TIMM) else f"model={found}"
        raise UserError(f"{path}: expected weights of {architecture}, found {found}'s; use {model} or another file")
    if input_kind not in (None, provenance.input):
        problem = f"expected weights of input={input_kind}, found {provenance.input}"
        raise UserError(f"{path}: {problem}; set model.input or another file")


def _start_from_pretrained(network: Refiner, path: str | Path) -> Refiner:
    """Loads the ImageNet weights of a network's backbone, which expects a mean of its own to be subtracted."""
    tensors, rgb_mean = network.backbone.pretrained(path)
    for name in network.backbone.input_kernels:
        tensors[name] = _blind_to_maps(tensors[name], network)

    network.input_mean[0, :3, 0, 0] = torch.tensor(rgb_mean)
    _load(network, {f"backbone.{name}": tensor for name, tensor in tensors.items()}, Path(path), is_backbone=True)
    return network


def _adapt_slim(tensors: weights.Tensors, network: Refiner) -> None:
    """Changes the stem of one of slim's ImageNet backbones so that it fits a network.

    The backbone expects RGB minus ImageNet's mean; the refiner subtracts another mean. The constant that this adds to
    the stem's output is subtracted again by its batch norm.
    """
    kernel = tensors["backbone.stem.conv.weight"]  # (64, 3, 7, 7)
    difference = np.array(IMAGENET_MEAN) - network.input_mean[0, :3, 0, 0].numpy()
    added = (kernel.sum(axis=(2, 3)) * difference).sum(axis=1)  # (64,)

    tensors["backbone.stem.conv.weight"] = _blind_to_maps(kernel, network)
    tensors["backbone.stem.norm.running_mean"] = tensors["backbone.stem.norm.running_mean"] + added


def _blind_to_maps(kernel: NDArray[Any], network: Refiner) -> NDArray[Any]:
    """Extends a kernel for RGB (out, 3, h, w) by zeros for the keypoints' maps: (out, 3 + K, h, w)."""
    return np.pad(kernel, ((0, 0), (0, len(network.skeleton)), (0, 0), (0, 0)))


@torch.no_grad()
def _transfer(trained: Refiner, network: Refiner) -> None:
    """Makes a network begin as a trained one of the same backbone for another skeleton.

    Keypoints are matched by name. New ones are not seen yet: the kernels of their maps are zero, and their heads stay
    random. A map's mean is taken over where the trained network has the keypoint.
    """
    mapping = torch.from_numpy(trained.skeleton.mapping_to(network.skeleton))  # (K,), -1 for new keypoints
    shared, old = (mapping >= 0).nonzero()[:, 0], mapping[mapping >= 0]
    rgb = torch.arange(3)
    own, state = network.state_dict(), trained.state_dict()

    for kernel in network.backbone.input_kernels:
        name = f"backbone.{kernel}"  # (out, 3 + K, h, w)
        blind = torch.zeros_like(own[name]).index_copy(1, rgb, state[name][:, :3])
        state[name] = blind.index_copy(1, 3 + shared, state[name][:, 3 + old])

    for name in (name for name in own if "_head." in name):
        axis = 1 if own[name].ndim > 1 else 0  # kernels (in, n * K, 3, 3), biases (n * K,): n maps for each keypoint
        maps = torch.arange(own[name].shape[axis] // len(mapping))  # (n,)
        new_indices, old_indices = ((index[:, None] * len(maps) + maps).flatten() for index in (shared, old))
        state[name] = own[name].index_copy(axis, new_indices, state[name].index_select(axis, old_indices))
    network.load_state_dict(state)

    mean, old_mean = network.input_mean.flatten(), trained.input_mean.flatten()  # (3 + K,)
    mean = mean.index_copy(0, rgb, old_mean[:3]).index_copy(0, 3 + shared, old_mean[3 + old])
    unmeasured = sorted(set(network.unmeasured) - set(shared.tolist()))
    network.set_input_mean(mean.tolist())
    network.unmeasured = unmeasured


def _state(network: Refiner) -> dict[str, Tensor]:
    """Returns the mean and the state of a network, but for the batches that batch norms count: these change nothing."""
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("batches_tracked")}
    return {_INPUT_MEAN: network.input_mean.flatten(), **state}  # (3 + K,), ...


def _load(network: Refiner, tensors: weights.Tensors, path: Path, is_backbone: bool = False) -> None:
    """Loads every tensor of a network, or of its backbone; then the heads and the mean stay as they are.

    Without a mean in the file, a refiner was trained with the network's default mean.
    """
    state = _state(network)
    optional = [name for name in state if name == _INPUT_MEAN or (is_backbone and "_head." in name)]
    tensors = {**{name: state[name].numpy() for name in optional}, **tensors}

    expected = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    unfit = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if unfit:
        shapes = f"expected shape {expected.get(unfit[0])}, found {found.get(unfit[0])}"
        raise UserError(f"{path}: {len(unfit)} tensors do not fit the network, first {unfit[0]}: {shapes}")

    for name, tensor in tensors.items():
        problem = None
        if not np.issubdtype(tensor.dtype, np.floating):
            problem = f"numbers of type {tensor.dtype}"
        elif not np.isfinite(tensor).all():
            problem = f"{int((~np.isfinite(tensor)).sum())} numbers that are not finite"
        elif tensor.ndim > 1 and not tensor.any():
            problem = "nothing but zeros"
        if problem is not None:
            raise UserError(f"{path}: {name}: expected trained weights, found {problem}; port or train them again")

    # Files may hold fp16 to be small; the network computes in fp32.
    loaded = {name: torch.from_numpy(tensor).float() for name, tensor in tensors.items()}
    mean = loaded.pop(_INPUT_MEAN)
    if not is_backbone:
        network.set_input_mean(mean.tolist())
    network.load_state_dict(loaded, strict=False)
