"""torchvision's ImageNet weights, from a .pth file or from torch hub's cache; nothing is downloaded."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torchvision import models

from hpr.errors import UserError
from hpr.models.weight_files import Tensors

FROM_CACHE = "torchvision"
"""Stands for a path: the file that torchvision itself would have put into its cache."""

RGB_MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
"""Of R, G and B in 0..255, as torchvision's ImageNet models expect it to be subtracted."""

RGB_DEVIATION = tuple(255 * value for value in (0.229, 0.224, 0.225))
"""What they expect the rest to be divided by."""


def is_torchvision(path: str | Path) -> bool:
    """Returns whether a path means torchvision's weights."""
    return str(path) == FROM_CACHE or Path(path).suffix in (".pth", ".pt")


def load_torchvision(path: str | Path, model: str) -> tuple[Tensors, str]:
    """Reads the weights of one of torchvision's models.

    Args:
        path: A file, or FROM_CACHE.
        model: torchvision's name of it.

    Returns:
        All tensors by torchvision's names, without batch norms' counts of batches, and the file's name.

    Raises:
        UserError: The file is absent, no file of weights, or another model's.
    """
    file = _cached(model) if str(path) == FROM_CACHE else Path(path)
    state = _state(file)
    with torch.device("meta"):
        expected = models.get_model(model, weights=None).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items() if not name.endswith("batches_tracked")}
    found = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("batches_tracked")}
    odd = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if odd:
        first = f"first {odd[0]}: expected shape {shapes.get(odd[0])}, found {found.get(odd[0])}"
        raise UserError(f"{file}: expected torchvision's {model}, found {len(odd)} tensors that do not fit, {first}")
    return {name: state[name].float().numpy() for name in shapes}, file.name


def _state(file: Path) -> dict[str, Tensor]:
    """Returns what a .pth file holds.

    Raises:
        UserError: It is absent, or does not hold tensors by name.
    """
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: no such weights; set model.weights") from None
    except (OSError, RuntimeError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise UserError(f"{file}: not a complete file of torchvision's weights ({reason}); download it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file}: expected torchvision's weights, tensors by name; found something else")
    return state


def _cached(model: str) -> Path:
    """Returns the best of a model's files in the cache.

    Raises:
        UserError: There is none.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    known = models.get_model_weights(model)
    urls = list(dict.fromkeys([known.DEFAULT.url, *(weights.url for weights in known)]))
    for url in urls:
        if (folder / Path(url).name).is_file():
            return folder / Path(url).name
    names = " or ".join(Path(url).name for url in urls)
    raise UserError(f"model.weights={FROM_CACHE}: expected {names} in {folder}, found none; put {urls[0]} there")
