"""Which device to compute on."""

import torch

from hpr.errors import UserError


def select_device(name: str) -> torch.device:
    """Returns the device of that name; "auto" is CUDA if there is a usable GPU, else the CPU.

    Raises:
        UserError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:INDEX")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; use device=cpu")
    return device
