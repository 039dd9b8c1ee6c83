"""What a run leaves behind: checkpoints to go on from, weights to refine with, and where they come from."""

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

from hpr.models import weight_files as weights
from hpr.errors import UserError
from hpr.files import replacing
from hpr.models.loading import weights_of
from hpr.models.network import Refiner

CHECKPOINT = "last.pt"
CONFIG = "config.yaml"

_FREE_TO_CHANGE: tuple[str, ...] = ("resume", "output_dir", "device", "code.commit", "code.changed_files")
_FREE_TO_CHANGE += tuple(f"training.{name}" for name in ("workers", "log_every", "checkpoint_every", "validate_every"))


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Number of steps done.
        best: Highest validation score so far.
    """

    step: int = 0
    best: float = float("-inf")


def save_checkpoint(path: Path, parts: dict[str, Any], progress: Progress) -> None:
    """Writes everything that a run needs to go on as if it had never stopped.

    Args:
        path: The file.
        parts: What has a state_dict: network, averaged network, optimizer, scaler.
        progress: How far the run is.

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
    """Puts a run back to where it was saved.

    Args:
        path: The file.
        parts: As for `save_checkpoint`.
        device: To load the tensors to.

    Raises:
        UserError: The checkpoint is absent, damaged or of another run.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums into its files, but does not read them
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if torch.cuda.is_available() and len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random"]["cuda"]])
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint to go on from; set output_dir to the run's folder") from None
    except Exception as error:  # a damaged file shows as one of many kinds of error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not this run's checkpoint ({reason})") from None
    return Progress(state["step"], state["best"])


def start_folder(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Writes the configuration and the state of the code into a run's folder, or checks it where the run goes on.

    Args:
        folder: Of the run.
        config: All settings, in nested groups.
        resume: Whether the run goes on.

    Raises:
        UserError: Another run is in the folder, or the one to go on with had other settings.
    """
    saved = folder / CONFIG
    if not resume:
        if (folder / CHECKPOINT).exists():
            raise UserError(f"{folder}: a run is there; go on with it by resume=true, or set another output_dir")
        with replacing(saved) as temporary:
            temporary.write_text(OmegaConf.to_yaml({**config, "code": code_state()}))
        return

    if not saved.is_file():
        raise UserError(f"{folder}: no run to go on with; set output_dir to the folder of one")
    before, now = _flat(_saved_settings(saved)), _flat(config)
    for name in sorted(before.keys() | now.keys()):
        if name not in _FREE_TO_CHANGE and before.get(name) != now.get(name):
            raise UserError(
                f"{folder}: this run had {name}={before.get(name)}, not {now.get(name)}; give the same settings"
            )


def _saved_settings(path: Path) -> dict[str, Any]:
    """Returns the settings that a run was begun with."""
    try:
        settings = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
        settings = None
    if not isinstance(settings, dict) or not settings:
        raise UserError(f"{path}: not the settings of a run; set output_dir to the folder of one")
    return {str(name): value for name, value in settings.items()}


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the settings of nested groups by their full names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def code_state() -> dict[str, str]:
    """Returns git's commit and whether files differ from it; "unknown" outside of a repository."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        result = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else "unknown"

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed_files": git("status", "--porcelain", "--untracked-files=no"),
        }
    except FileNotFoundError:
        return {"commit": "unknown", "changed_files": "unknown"}


def save_weights(path: Path, network: Refiner, source: str, step: int, architecture: str) -> None:
    """Writes a network's weights so that `refine.py model.weights=…` takes them.

    Args:
        path: The file.
        network: Whose weights.
        source: The run that they are from.
        step: Number of steps they have been trained for.
        architecture: Name of the network's architecture.
    """
    provenance = weights.Provenance.of_refiner(source, str(step), architecture, network.skeleton, network.input_kind)
    weights.save(path, weights_of(network), provenance)
