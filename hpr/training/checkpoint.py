"""Files of a training run: checkpoints to resume from, weights to refine with, the configuration, the code's state."""

import io
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from hpr.errors import UserError
from hpr.files import replacing
from hpr.models import weights
from hpr.models.checkpoints import network_tensors
from hpr.models.network import Refiner

CHECKPOINT = "last.pt"
CONFIG = "config.yaml"

_MAY_CHANGE = frozenset(
    (
        *("resume", "output_dir", "device", "code.commit", "code.changed_files"),
        *("training.num_workers", "training.log_every", "training.checkpoint_every", "training.validate_every"),
    )
)
"""Settings that may differ when a run is resumed."""


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        step: Number of steps done.
        best: Highest validation score so far.
    """

    step: int = 0
    best: float = float("-inf")


def save_checkpoint(path: Path, parts: dict[str, Any], progress: Progress) -> None:
    """Writes everything that is needed to resume a run as if it had never stopped: objects with a state_dict by name.

    Raises:
        UserError: The file cannot be written.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    random = {"cpu": torch.get_rng_state(), "cuda": on_gpus}

    content = io.BytesIO()  # on a full disk, PyTorch's own writing fails with an error of its own
    torch.save({**state, "step": progress.step, "best": progress.best, "random": random}, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, parts: dict[str, Any], device: torch.device) -> Progress:
    """Restores the state of the objects that `save_checkpoint` had, and returns the run's progress.

    Raises:
        UserError: The checkpoint is absent, damaged or of another run.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums, but does not check them
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if torch.cuda.is_available() and len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random"]["cuda"]])
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint to resume from; set output_dir to the run's folder") from None
    except Exception as error:  # a damaged file shows as one of many kinds of error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not this run's checkpoint ({reason})") from None
    return Progress(state["step"], state["best"])


def save_weights(path: Path, network: Refiner, step: int, architecture: str) -> None:
    """Writes a network's weights after a number of steps into a run's folder, for `model.weights=FILE`.

    Raises:
        UserError: The file cannot be written.
    """
    source = str(path.parent)
    provenance = weights.Provenance.of_refiner(source, str(step), architecture, network.skeleton, network.input_kind)
    weights.save(path, network_tensors(network), provenance)


def start_folder(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Writes the settings, in nested groups, and the state of the code into a run's folder, or compares them.

    Raises:
        UserError: Another run is in the folder, or the run to be resumed had other settings.
    """
    saved = folder / CONFIG
    if not resume:
        if (folder / CHECKPOINT).exists():
            raise UserError(f"{folder}: a run is there; continue it by resume=true, or set another output_dir")
        with replacing(saved) as temporary:
            changed = _git("status", "--porcelain", "--untracked-files=no")
            code = {"commit": _git("rev-parse", "HEAD"), "changed_files": changed}
            temporary.write_text(OmegaConf.to_yaml({**config, "code": code}))
        return

    if not saved.is_file():
        raise UserError(f"{folder}: no run to resume; set output_dir to the folder of one")
    try:
        settings = OmegaConf.to_container(OmegaConf.load(saved))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
        settings = None
    if not isinstance(settings, dict) or not settings:
        raise UserError(f"{saved}: not the settings of a run; set output_dir to the folder of one")

    before, now = _flat(settings), _flat(config)
    for name in sorted((before.keys() | now.keys()) - _MAY_CHANGE):
        if before.get(name) != now.get(name):
            had = f"this run had {name}={before.get(name)}, not {now.get(name)}"
            raise UserError(f"{folder}: {had}; give the same settings")


def _flat(config: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the settings of nested groups by their full names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _git(*words: str) -> str:
    """Returns what git says about this code; "unknown" outside a repository."""
    command, folder = ["git", *words], Path(__file__).parent
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"
