"""Batches of examples for the training loop, made by worker processes."""

import signal
from collections.abc import Generator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from hpr.errors import UserError
from hpr.runtime.processes import Processes
from hpr.training.examples import Example


def example_batches(
    examples: Dataset[Example], steps: range, batch_size: int, accumulate: int, num_workers: int, processes: Processes
) -> Generator[list[Example], None, None]:
    """Yields this rank's share of each step, in `accumulate` parts.

    Args:
        examples: Examples by index; step s has those from s * batch_size on.
        steps: Steps to yield.
        batch_size: Examples in a step, over all ranks.
        accumulate: Parts of a rank's share.
        num_workers: Processes that make examples; 0 makes them in this process.
        processes: The ranks.

    Raises:
        UserError: An example cannot be read.
    """
    # Each rank takes consecutive examples of a step, part by part.
    size = batch_size // (processes.count * accumulate)
    own_parts = range(processes.rank * accumulate, (processes.rank + 1) * accumulate)
    starts = (step * batch_size + part * size for step in steps for part in own_parts)
    loader = DataLoader(
        examples,
        batch_sampler=(list(range(start, start + size)) for start in starts),
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if num_workers else None,
    )
    parts: list[Example] = []
    batches = iter(loader)
    try:
        for batch in batches:
            parts.append(batch)
            if len(parts) == accumulate:
                yield parts
                parts = []
    except UserError as error:  # a worker's error comes with the worker's traceback around it
        line = error.args[0].strip().splitlines()[-1]
        raise UserError(line.removeprefix("hpr.errors.UserError: ")) from None
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # An exception's traceback would keep the workers from the garbage collector beyond the program's end.
            batches._shutdown_workers()


def _start_worker(worker: int) -> None:
    """Leaves the cores to the other workers, and Ctrl-C and SIGTERM to the main process.

    Clusters signal all processes of a run, but the main process needs its workers until it has saved its state.
    PyTorch ends workers whose main process is gone.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
