"""What one of two processes does in `test_two_processes.py`: a program that torchrun starts twice."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import dots
import torch
from conftest import small_network
from dots import SGD, examples
from torch.utils.data import default_collate

from hpr.runtime.processes import Processes
from hpr.training.loop import Trainer, train

CASES: dict[str, dict[str, Any]] = {
    "live": {"batch_norm": "live", "accumulate": 1},
    "live in parts": {"batch_norm": "live", "accumulate": 2},
    "frozen in parts": {"batch_norm": "frozen", "accumulate": 2},
}
STEPS, BATCH_SIZE = 3, 4
STOPPED_AT = 2


def trainer(case: str, processes: Processes) -> Trainer:
    """A training that is the same in all processes; in double precision, or rounding would hide what is wrong."""
    optimizer, words = partial(SGD, momentum=0.9), {"steps": STEPS, "batch_size": BATCH_SIZE, **CASES[case]}
    return dots.trainer(optimizer, 0.05, 1, lambda: small_network().double(), processes, **words)


def results(case: str, processes: Processes, ranks: tuple[int, ...]) -> dict[str, Any]:
    """Does the steps of some of two ranks together, each of which has its own share of the batch, part after part."""
    model, source, num_parts = trainer(case, processes), examples(), CASES[case]["accumulate"]
    size, losses = BATCH_SIZE // (2 * num_parts), []
    for first in range(0, STEPS * BATCH_SIZE, BATCH_SIZE):
        starts = [[first + (rank * num_parts + part) * size for rank in ranks] for part in range(num_parts)]
        parts = [[source[start + offset] for start in own for offset in range(size)] for own in starts]
        losses.append(model.step([default_collate(part) for part in parts])[0].total.item())
    return {"losses": losses, "network": model.network.state_dict(), "averaged": model.averaged.state_dict()}


def main(folder: Path) -> None:
    """Trains all cases, and one that is told to stop in one process alone; the first process writes what it has."""
    processes = Processes.from_environment()
    processes.join(torch.device("cpu"))
    for case in CASES:
        found = results(case, processes, (processes.rank,))
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
