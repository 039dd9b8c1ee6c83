"""Batches of examples for the training loop, made by worker processes."""

import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from hpr.errors import UserError
from hpr.runtime.processes import Processes
from hpr.training.buckets import BucketedExamples
from hpr.training.examples import Example


def example_batches(
    examples: Dataset[Example], steps: range, batch_size: int, accumulate: int, workers: int, processes: Processes
) -> Generator[list[Example], None, None]:
    """Yields this process's share of each step, in parts, made by worker processes.

    Args:
        examples: Each a function of its index alone, or `BucketedExamples`.
        steps: That are still to be done, from 0.
        batch_size: Examples in a step, over all processes and parts.
        accumulate: Parts that each process takes its share of a step in.
        workers: Processes that make examples; 0 makes them in this one.
        processes: Who takes part.

    Raises:
        UserError: An example cannot be read.
    """
    parts_of: Callable[..., Iterator[list[Any]]] = _indices
    if isinstance(examples, BucketedExamples):
        parts_of = examples.parts
    loader = DataLoader(
        examples,
        batch_sampler=_Batches(parts_of(steps, batch_size, accumulate, processes)),
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    parts: list[Example] = []
    batches = iter(loader)
    try:
        for batch in batches:
            parts.append(batch)
            if len(parts) == accumulate:
                yield parts
                parts = []
    except UserError as error:  # from a worker it comes with the worker's traceback around it
        line = error.args[0].strip().splitlines()[-1]
        raise UserError(line.removeprefix("hpr.errors.UserError: ")) from None
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # Left to the garbage collector, which an exception's traceback keeps waiting, the workers could outlive
            # the program's end: they do not heed the first SIGTERM.
            batches._shutdown_workers()


def _indices(steps: range, batch_size: int, accumulate: int, processes: Processes) -> Iterator[list[int]]:
    """Yields the indices of the examples in each part of this process; the parts of a step follow each other."""
    size = batch_size // (processes.count * accumulate)
    for step in steps:
        own = step * batch_size + processes.rank * accumulate * size
        for part in range(accumulate):
            first = own + part * size
            yield list(range(first, first + size))


class _Batches:
    """Lists of indices, or of what else examples are asked for by, for a DataLoader."""

    def __init__(self, parts: Iterator[list[Any]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[list[Any]]:
        return self._parts


_SAVING_SECONDS = 60


def _start_worker(worker: int) -> None:
    """Leaves the cores to the other workers, and Ctrl-C and SIGTERM to the main process.

    Clusters signal all processes of a run: the main one has to save its state while the workers are still there. They
    end by themselves after a while, whatever became of it.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_SAVING_SECONDS))
