"""What one of two processes does in `test_two_processes.py`: a program that torchrun starts twice."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from conftest import small_network
from dots import batch, examples, training_settings

from hpr.runtime.processes import Processes
from hpr.training.examples import Example
from hpr.training.loop import Trainer, train
from hpr.training.schedules import WarmUpCosine

CASES = {"live": ("live", 1), "live in parts": ("live", 2), "frozen in parts": ("frozen", 2)}
"""Batch norms, and the number of parts of a step."""

STEPS, BATCH_SIZE = 3, 4
STOPPED_AT = 2


def trainer(case: str, processes: Processes) -> Trainer:
    """A training that is the same in all processes; in double precision, or rounding would hide what is wrong."""
    batch_norm, accumulate = CASES[case]
    settings = training_settings(steps=STEPS, batch_size=BATCH_SIZE, batch_norm=batch_norm, accumulate=accumulate)
    torch.manual_seed(0)
    optimizer = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
    network = small_network().double()
    return Trainer(network, optimizer, WarmUpCosine(0.05, 1), settings, torch.device("cpu"), processes)


def parts(case: str, step: int, count: int) -> list[list[int]]:
    """Returns the examples in each part of a step that `count` ranks see together.

    Args:
        case: One of `CASES`.
        step: Index of the step.
        count: Number of ranks that share each part; each takes the parts of its own share in turn.
    """
    accumulate = CASES[case][1]
    size = BATCH_SIZE // (count * accumulate)
    first = step * BATCH_SIZE
    starts = [[first + (rank * accumulate + part) * size for rank in range(count)] for part in range(accumulate)]
    return [[start + offset for start in own for offset in range(size)] for own in starts]


def results(model: Trainer, losses: list[float]) -> dict[str, Any]:
    return {"losses": losses, "network": model.network.state_dict(), "averaged": model.averaged.state_dict()}


def steps(model: Trainer, batches: list[list[Example]]) -> list[float]:
    """Does steps and returns their losses."""
    return [model.step(own)[0].total.item() for own in batches]


def main(folder: Path) -> None:
    """Trains all cases, and one that is told to stop in one process alone; the first process writes what it has."""
    processes = Processes.from_environment()
    processes.join(torch.device("cpu"))
    for case, (_, accumulate) in CASES.items():
        model, size = trainer(case, processes), BATCH_SIZE // (2 * accumulate)
        batches = []
        for step in range(STEPS):
            own = step * BATCH_SIZE + processes.rank * accumulate * size
            batches.append([batch(own + part * size, own + (part + 1) * size) for part in range(accumulate)])
        found = results(model, steps(model, batches))
        if processes.is_first:
            torch.save(found, folder / f"{case}.pt")

    model, run = trainer("live", processes), folder / "stopped"

    def stop_requested() -> bool:
        return not processes.is_first and model.progress.step == STOPPED_AT

    train(model, examples(), None, run, False, "demo", stop_requested=stop_requested)
    (folder / f"stopped_{processes.rank}").write_text(f"{model.progress.step}")
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
