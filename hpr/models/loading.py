"""From a weight file to a network."""

from pathlib import Path

import torch

from hpr import weights
from hpr.errors import UserError
from hpr.models.refiner import Refiner, build


def load_network(path: Path, architecture: str | None = None) -> Refiner:
    """Builds the network that a weight file is for and loads every tensor of it.

    Args:
        path: The weight file.
        architecture: What the weights have to be for; None takes what the file says.

    Raises:
        UserError: The weights are absent, damaged, not a refiner's or for another architecture.
    """
    tensors, provenance = weights.load(path)
    if provenance.kind != "refiner":
        raise UserError(
            f"{path}: expected a refiner's weights, found a {provenance.kind}'s, which only training can use"
        )
    if architecture not in (None, provenance.architecture):
        found = provenance.architecture
        raise UserError(
            f"{path}: expected weights of {architecture}, found {found}'s; use model={found} or another file"
        )
    network = build(provenance.architecture)
    # Batch norm's count of training batches is torch's own and has no part in what the network computes.
    expected = {
        name: tuple(t.shape) for name, t in network.state_dict().items() if not name.endswith("batches_tracked")
    }
    found_shapes = {name: tensor.shape for name, tensor in tensors.items()}
    odd = sorted(name for name in expected.keys() | tensors.keys() if expected.get(name) != found_shapes.get(name))
    if odd:
        shapes = f"expected shape {expected.get(odd[0])}, found {found_shapes.get(odd[0])}"
        raise UserError(f"{path}: {len(odd)} tensors do not fit {provenance.architecture}, first {odd[0]}: {shapes}")
    network.load_state_dict({name: torch.from_numpy(tensors[name]) for name in expected}, strict=False)
    return network
