"""Train a refiner: python train.py [dataset=synthetic|posetrack18|posetrack17] [model=demo|resnet50|resnet101]."""

import os
import signal
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from hpr import cli
from hpr.errors import UserError
from hpr.inference import select_device
from hpr.memory import keep_freed_memory
from hpr.models.loading import start_network
from hpr.processes import Processes
from hpr.training.examples import Examples
from hpr.training.loop import Settings, Trainer, train
from hpr.training.runs import start_folder
from hpr.training.validation import Scores, Validation, table


def run(cfg: DictConfig) -> Scores | None:
    """Trains as the configuration says and returns the last validation's scores, None if the run was stopped."""
    processes = Processes.from_environment()
    device = processes.own_device(select_device(cfg.device))
    torch.manual_seed(cfg.seed)
    processes.join(device)
    try:
        return _run(cfg, device, processes)
    finally:
        processes.leave()


def _run(cfg: DictConfig, device: torch.device, processes: Processes) -> Scores | None:
    folder = Path(processes.agreed(str(cfg.output_dir)))
    if cfg.dataset.get("training") is None:
        raise UserError(f"dataset={cfg.dataset.name}: nothing to train on in it; use dataset=synthetic or posetrack18")
    network = start_network(cfg.model.architecture, cfg.model.weights)
    people = hydra.utils.instantiate(cfg.dataset.training, seed=cfg.seed)
    errors, augmentation = (hydra.utils.instantiate(cfg[name]) for name in ("pose_errors", "augmentation"))
    examples = Examples(people, errors, augmentation, cfg.canvas, network.mean_head, cfg.seed)
    settings = Settings(**cfg.training)
    optimizer, schedule = (hydra.utils.instantiate(cfg[name]) for name in ("optimizer", "schedule"))
    trainer = Trainer(network, optimizer, schedule, settings, device, processes)
    validation: Validation | None = None
    if processes.is_first:
        settled = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(settled, dict)
        start_folder(folder, {str(name): value for name, value in settled.items()}, cfg.resume)
        held_out = hydra.utils.instantiate(cfg.validation_errors)
        validation = hydra.utils.instantiate(cfg.dataset.validation, folder=folder, errors=held_out)
        print(f"run {folder}: {cfg.model.architecture} on {cfg.dataset.name}, {settings.steps} steps on {device}")
    scores = train(trainer, examples, validation, folder, cfg.resume, cfg.model.architecture, _stopped)
    if processes.is_first and validation is not None:
        _conclude(trainer, validation, scores, folder, cfg.model.architecture)
    return scores


def _conclude(trainer: Trainer, validation: Validation, scores: Scores | None, folder: Path, model: str) -> None:
    if scores is None:
        print(f"\nstopped after step {trainer.progress.step}; go on with the same settings and")
        print(f"  resume=true output_dir={folder}")
        return
    print(
        f"\nafter {trainer.progress.step} steps, on clips that training never sees\n{table(validation.before, scores)}"
    )
    print(f"\nwrote {folder}: best.safetensors, last.safetensors, last.pt, config.yaml, curves; refine with")
    print(f"  python refine.py model={model} model.weights={folder}/best.safetensors")


_STOP = False


def _stop(*_: Any) -> None:
    """Ends the run after the step under way; a second signal ends it at once."""
    global _STOP  # noqa: PLW0603 (a signal handler has nowhere else to leave a word)
    if _STOP:
        os._exit(130)
    _STOP = True


def _stopped() -> bool:
    return _STOP


def main(cfg: DictConfig) -> None:
    """Trains; Ctrl-C saves the state and stops."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    run(cfg)


if __name__ == "__main__":
    cli.run(main, "train")
